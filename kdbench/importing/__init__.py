"""Other people's teachers: a file of weights -> a network of kdbench, measured, with a provenance record."""
