"""The nouns of claims: what a paper concludes from its numbers, as data, and what comes of it."""
