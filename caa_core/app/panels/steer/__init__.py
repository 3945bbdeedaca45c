"""The Steer tab: one vector while the model writes, and what is known of it."""
