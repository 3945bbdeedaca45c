"""Results as plain data that JSON can hold, and back: a dataclass is a mapping of its fields."""

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from caa_core.errors import InputError
from caa_core.metrics.estimates import Estimate

# A dataclass.
T = TypeVar("T")

# Metadata of a field that holds an `Estimate`, which then stands in three columns of its row: by the field's name, and
# by these names for the ends of its interval. Fields that share their ends are never there together.
ENDS = "ends"
FLAT = {ENDS: ("{}_low", "{}_high")}
SHARED = {ENDS: ("low", "high")}


def plain(found: Any, without: Sequence[str] = ()) -> Any:
    """A result as mappings, lists, numbers and texts; a number that is not finite is None.

    Args:
        without: fields of `found` itself that are left out.
    """
    if is_dataclass(found):
        row: dict[str, Any] = {}
        for one in fields(found):
            value = getattr(found, one.name)
            if ENDS in one.metadata:
                _flatten(row, one.name, one.metadata[ENDS], value)
            elif one.name not in without:
                row[one.name] = plain(value)
        return row
    if isinstance(found, Mapping):
        return {key: plain(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [plain(value) for value in found]
    if isinstance(found, np.generic):
        return plain(found.item())
    return None if isinstance(found, float) and not math.isfinite(found) else found


def _flatten(row: dict[str, Any], name: str, ends: tuple[str, str], value: Estimate | None) -> None:
    low, high = (end.format(name) for end in ends)
    known = row.pop(low, None), row.pop(high, None)
    row[name] = plain(value and value.value)
    row[low], row[high] = (plain(value.low), plain(value.high)) if value else known


def restored(cls: type[T], kept: Any, what: str, **given: Any) -> T:
    """What `plain` made of a `cls`. Fields that it lacks are as by default, and what else it holds is left.

    Args:
        what: what it is, for the message: "The study that was".
        given: fields that are not read from it.

    Raises:
        InputError: it is something else.
    """
    try:
        return _instance(cls, kept, given)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise InputError(f"{what} kept cannot be read.") from error


@cache
def _types(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _instance(cls: Any, kept: Any, given: Mapping[str, Any]) -> Any:
    found = dict(given)
    for one in fields(cls):
        if one.name in found or (one.name not in kept and (one.default, one.default_factory) != (MISSING, MISSING)):
            continue
        kind = _types(cls)[one.name]
        if ENDS in one.metadata:
            value, low, high = (kept[end.format(one.name)] for end in ("{}", *one.metadata[ENDS]))
            # Where none of the three is a finite number, only the annotation tells what that was.
            absent = value is None and (types.NoneType in get_args(kind) or low is not None)
            found[one.name] = _value(kind, None if absent else {"value": value, "low": low, "high": high})
        else:
            found[one.name] = _value(kind, kept[one.name])
    return cls(**found)


def _value(kind: Any, kept: Any) -> Any:
    """A value of an annotated type. Raises TypeError, KeyError or ValueError for anything else."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return kept
    if origin in (Union, types.UnionType):
        (kind,) = (one for one in inner if one is not type(None))
        return None if kept is None else _value(kind, kept)
    if origin is dict:
        return {_key(inner[0], key): _value(inner[1], value) for key, value in kept.items()}
    if origin in (list, tuple):
        if not isinstance(kept, list | tuple):
            raise TypeError(f"not a list: {kept!r}")
        of = inner if origin is tuple and inner[-1] is not ... else [inner[0]] * len(kept)
        return origin(_value(one, value) for one, value in zip(of, kept, strict=True))
    if is_dataclass(kind):
        return _instance(kind, kept, {})
    if kind is float and kept is None:
        return math.inf
    if not isinstance(kept, int | float if kind is float else kind) or isinstance(kept, bool) != (kind is bool):
        raise TypeError(f"not a {kind}: {kept!r}")
    return float(kept) if kind is float else kept


def _key(kind: Any, key: Any) -> Any:
    """A key of a mapping, which JSON holds as text."""
    return key if kind is Any else kind(key)
