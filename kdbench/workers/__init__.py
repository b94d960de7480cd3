"""Starting a process and talking to it."""
