"""What `kdbench new` writes: a package with a method of one's own, a suite."""
