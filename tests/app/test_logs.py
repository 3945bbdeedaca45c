import json
import logging
from pathlib import Path

from caa_core.app.opening import logs


def test_a_line_is_json_and_tells_nothing_of_anybodys(capsys):
    logs.setup()
    log = logging.getLogger("caa_core")
    log.info("serving\nnow", extra={"model": "tiny", "odd": {1, 2}})
    try:
        try:
            Path("/home/someone/secret prompt hf_abcdefgh").read_bytes()
        except OSError as error:
            raise ValueError("my prompt") from error
    except ValueError as error:
        log.error("a job failed", exc_info=error)
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["level"], first["message"], first["model"]) == ("info", "serving\nnow", "tiny")
    assert second["error"] == "ValueError" and second["at"][0].startswith("test_logs.py:")
    for word in ("secret", "prompt", "hf_", "/home"):
        assert word not in json.dumps(second)
