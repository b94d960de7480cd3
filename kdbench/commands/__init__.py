"""The commands of the command line: each is a few lines over the functions that do its work."""
