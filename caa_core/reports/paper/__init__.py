"""The CAA paper's figures, and the report of them."""
