"""For those who work on kdbench."""
