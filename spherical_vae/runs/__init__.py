"""Working directories: checkpoints, the log of metrics, and models loaded from them."""
