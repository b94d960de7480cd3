"""Against a real Slurm on this machine, started by slurm/dev-cluster.sh."""
