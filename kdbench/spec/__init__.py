"""The nouns: frozen values that every other folder passes on."""
