"""Checks -> text."""
