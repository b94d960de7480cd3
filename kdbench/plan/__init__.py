"""Rows -> runs: which trainings a selection of rows asks for."""
