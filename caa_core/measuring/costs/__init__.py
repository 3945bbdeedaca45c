"""What steering costs: on ordinary text, in right answers; and how strong a vector may be at a cost."""
