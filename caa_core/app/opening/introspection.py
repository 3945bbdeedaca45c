"""What gradio finds out of a function or of a kind of part again and again, it finds out once: half of what drawing a
tab takes, and some of each event.
"""

import inspect
from collections.abc import Callable
from functools import cache
from types import FunctionType, MethodType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from gradio import blocks, component_meta, helpers, utils
from gradio.components import base

Found = TypeVar("Found")


def once(find: Callable[[Any], Found]) -> Callable[[Any], Found]:
    """The same, which finds out once what it finds of a function, and of a method, whose ever it is. What it gives is
    shared, and not to be changed.
    """
    functions, methods = WeakKeyDictionary[Any, Found](), WeakKeyDictionary[Any, Found]()

    def found(thing: Any) -> Found:
        bound = isinstance(thing, MethodType)
        key, known = (thing.__func__, methods) if bound else (thing, functions)
        if not isinstance(key, FunctionType) or _holds(key):
            return find(thing)
        if key not in known:
            known[key] = find(thing)
        return known[key]

    return found


def _holds(function: FunctionType) -> bool:
    """Whether it was made for one visitor and has defaults, by which it would be held for good."""
    return "<locals>" in function.__qualname__ and bool(inspect.unwrap(function).__defaults__)


class _Remembering:
    """`inspect` as gradio needs it."""

    getfullargspec = staticmethod(cache(inspect.getfullargspec))
    signature = staticmethod(once(inspect.signature))

    def __getattr__(self, name: str) -> Any:
        return getattr(inspect, name)


@cache
def _for_the_browser(kind: type) -> list[str]:
    """Names of a kind of part among which are all functions that a browser may call; gradio asks each name thrice."""
    return [name for name in dir(kind) if getattr(getattr(kind, name, None), "_is_server_fn", False)]


def remember() -> None:
    """Let gradio do so, in this process."""
    for module in (blocks, component_meta, helpers, utils):
        vars(module)["inspect"] = _Remembering()
    for name in ("get_type_hints", "get_positional_parameters", "get_positional_input_parameters"):
        vars(utils)[name] = once(getattr(utils, name))
    vars(base)["dir"] = _for_the_browser
