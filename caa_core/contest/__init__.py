"""Experiments on two voices at once."""
