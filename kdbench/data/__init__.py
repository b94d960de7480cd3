"""Fetched files -> one packed uint8 file with its digest -> batched views."""
