"""The app itself: its model, and the screen of who runs it."""
