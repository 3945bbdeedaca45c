"""Contrastive Activation Addition: make steering vectors, add them, let two of them compete.

The rooms of this package and who may import whom are drawn in CONTRIBUTING.md. Everything here works
without gradio; only :mod:`caa_core.panels` needs it.
"""

__version__ = "0.1.0"
