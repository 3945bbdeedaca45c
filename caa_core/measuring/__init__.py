"""Experiments on one vector."""
