"""Results as figures, tables, JSON, CSV and HTML. No model is run in here."""
