"""One family of networks per file; each returns logits and penultimate features."""
