"""What `kdbench run` does between the plan and the verdicts."""
