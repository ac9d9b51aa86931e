"""Training: the step, the loop around it, and sweeps."""
