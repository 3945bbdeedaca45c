"""A clock of the tests."""


class Clock:
    """Stands still but for what is said to pass."""

    def __init__(self, now=0.0):
        self.now = now

    def __call__(self):
        return self.now

    def pass_(self, seconds):
        self.now += seconds
