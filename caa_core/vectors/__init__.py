"""Steering vectors: made, combined, compared, and moved between formats."""
