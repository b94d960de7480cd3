"""Tests of kdbench/new."""
