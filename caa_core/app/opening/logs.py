"""The log: one JSON object a line, with nothing of anybody's in it.

An error's message may quote a prompt, a file's path or a token, so of an error its kind is logged, and where in the
code it came up.
"""

import json
import logging
import sys
import time
import traceback
from pathlib import Path

# What a record has besides what was handed to it as `extra`.
STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
FRAMES = 12


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, message, its `extra` fields, and an error's kind and frames."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in STANDARD},
        }
        if record.exc_info and record.exc_info[1]:
            line["error"] = type(record.exc_info[1]).__name__
            line["at"] = [
                f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(record.exc_info[2])[-FRAMES:]
            ]
        return json.dumps(line, default=lambda value: type(value).__name__)


def setup() -> None:
    """Write the log of this app to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    log = logging.getLogger("caa_core")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
