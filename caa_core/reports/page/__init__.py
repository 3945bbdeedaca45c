"""How a report looks in a browser: its page, and the scripts that it shares with the app's."""
