"""What the fork server imports first, and nothing else imports: it makes that process a parent of workers."""

from kdbench.workers.process import die_with_parent, ignore_signals, set_threads

ignore_signals()
die_with_parent()
set_threads(1)
