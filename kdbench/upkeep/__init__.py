"""Keeping results and machine in order: fsck, gc, doctor."""
