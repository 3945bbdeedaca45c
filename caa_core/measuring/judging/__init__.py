"""Scores of answers on three axes, given without knowing how they were steered: by a person, or by a model."""
