"""kdbench: which printed numbers of a knowledge-distillation paper come out again, how sure, and why not."""

__version__ = "0.1.0"
