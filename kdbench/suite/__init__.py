"""TOML -> Suite: loading, validating, linting and editing a paper's tables."""
