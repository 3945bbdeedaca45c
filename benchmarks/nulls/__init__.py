"""How often each sentence is said where nothing is so, and where something is; see `python -m benchmarks.nulls -h`."""
