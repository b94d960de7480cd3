"""Tests: what kdbench does, by numbers and by what people see."""
