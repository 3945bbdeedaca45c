"""app.py as a program, whose jobs stop short while the file is there that `HOLD` names."""

import os
import runpy
import time
from functools import partial
from pathlib import Path

from caa_core.app import worker
from tests.helpers.holding import HeldJob
from tests.helpers.places import ROOT


class Gate:
    def __init__(self, path: Path):
        self.path = path

    def wait(self, seconds: float) -> bool:
        """Whether it is open; asked again after so long."""
        if closed := self.path.exists():
            time.sleep(seconds)
        return not closed


worker.Job = partial(HeldJob, steps=8, gate=Gate(Path(os.environ["HOLD"])))
runpy.run_path(str(ROOT / "app.py"), run_name="__main__")
