"""Figures of what steering costs: on ordinary text, in right answers, in refusals."""
