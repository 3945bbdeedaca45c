"""How much is tried."""

import os

# `make soak` sets it: all that is tried in part by `make test` is tried in whole.
FULL = bool(os.environ.get("CAA_FULL"))
