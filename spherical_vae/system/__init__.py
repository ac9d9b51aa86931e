"""Files, locks, signals, caches and errors: what stands between the project and the machine."""
