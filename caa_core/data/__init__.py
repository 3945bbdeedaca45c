"""Files, hub datasets and presets as checked contrast pairs. No torch in here."""
