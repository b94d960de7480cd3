"""Where runs are trained: on this machine, on a cluster."""
