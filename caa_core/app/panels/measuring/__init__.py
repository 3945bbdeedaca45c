"""The Measure tab: what is measured of one vector."""
