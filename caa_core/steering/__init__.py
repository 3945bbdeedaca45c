"""Forward passes: what is added where, read, scored and written."""
