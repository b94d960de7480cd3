"""Speed: kdbench against the usual way, and against itself."""
