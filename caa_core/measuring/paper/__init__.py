"""The CAA paper's experiments, on several behaviours at once."""
