"""What there is before anything was run: a page while libraries and model are being loaded, and results made before."""
