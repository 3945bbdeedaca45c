"""What experiments share: items, counting, estimates, controls, options, and names for what is kept."""
