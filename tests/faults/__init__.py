"""Faults that are made to happen, and what is left of the work after them."""
