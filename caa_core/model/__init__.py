"""Which models there are, loading one, and chat rendering."""
