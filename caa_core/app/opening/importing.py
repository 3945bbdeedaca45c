"""Half of the time that gradio takes to be imported goes into stubs of its components, which an app has no use for."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_stubs() -> Iterator[None]:
    """Components of gradio's that are defined meanwhile seem to have no file, beside which a stub would be written."""
    found = inspect.getfile

    def getfile(object: Any) -> str:
        if getattr(object, "__module__", "").startswith("gradio."):
            raise OSError("no stub is to be written")
        return found(object)

    inspect.getfile = getfile
    try:
        yield
    finally:
        inspect.getfile = found
