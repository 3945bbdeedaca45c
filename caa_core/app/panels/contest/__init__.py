"""The Compete tab: two voices to choose, and what is measured of them."""
