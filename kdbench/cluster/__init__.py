"""Running on a cluster: what `--on slurm` means; sbatch.py alone speaks to submitit."""
