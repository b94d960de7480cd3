"""Results held against references: the statistics, the verdicts, the claims."""
