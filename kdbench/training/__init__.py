"""From here on torch is allowed: the loop, the losses, the checkpoints."""
