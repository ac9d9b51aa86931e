"""Files, locks, signals, caches, names and errors."""
