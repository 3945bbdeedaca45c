"""Half of the time that gradio takes to be imported goes into stubs of its components, which an app has no use for."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_stubs() -> Iterator[None]:
    """What gradio defines meanwhile seems to have no file, beside which it would write a stub of a component."""
    found = inspect.getfile

    def getfile(thing: Any) -> str:
        if str(getattr(thing, "__module__", "")).startswith("gradio."):
            raise OSError
        return found(thing)

    vars(inspect)["getfile"] = getfile
    try:
        yield
    finally:
        vars(inspect)["getfile"] = found
