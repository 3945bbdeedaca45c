"""The same work on an NDIF host: one job at a time, of which tokens, sums and scores come back, and nothing else."""
