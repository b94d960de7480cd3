"""Running on a cluster: what `--on slurm` means; executors/slurm.py alone speaks to submitit."""
