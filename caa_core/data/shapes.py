"""JSON that is a table in another shape: columns of lists, what pandas writes, objects that wrap a list.

What is certain is read; what is not is named, and parts that are meant to be apart are never put together.
"""

from collections.abc import Sequence
from typing import Any

from caa_core.data.columns import listed, names_columns, shown
from caa_core.data.messages import BEFORE, BETTER, WORSE
from caa_core.errors import InputError

MAX_DEPTH = 4
OF_ITS_OWN = "give the one you mean as a file of its own"
NO_PROMPTS = "give each pair a prompt, as an object with prompt, positive and negative"


def records_in(value: Any, name: str, depth: int = MAX_DEPTH) -> list[Any]:
    """The records of a JSON value; an item that is no object is left for the caller to refuse.

    Raises:
        InputError: it is of a known shape that holds no pairs, or several sets of them. `name` is the file's.
    """
    if isinstance(value, list):
        return _of_list(value, name)
    if not isinstance(value, dict):
        return [value]
    if (wrapped := _wrapped(value)) is not None and depth:
        return records_in(wrapped, name, depth - 1)
    columns = _split(value) or _columns(value, name)
    if columns is not None:
        return columns
    values = list(value.values())
    if len(values) > 1 and all(isinstance(item, dict) for item in values) and names_columns(list(values[0])):
        if any(isinstance(cell, list | dict) for cell in values[0].values()):
            raise InputError(f"{name} has the parts {listed(list(value))}: {OF_ITS_OWN}.")
        return values
    _refuse(value, name)
    return [value]


def _of_list(items: list[Any], name: str) -> list[Any]:
    if items and all(isinstance(item, list) for item in items):
        head = items[0]
        if all(isinstance(cell, str) for cell in head) and names_columns(head):
            return _zipped(head, items[1:])
        raise InputError(
            f"{name} holds rows without the names of their columns: put a row with them first, such as "
            'prompt, positive, negative, or give each pair as an object: {"prompt": ...}.'
        )
    if items and all(isinstance(item, str) for item in items):
        questions = 'open questions are objects too: {"question": ...}'
        raise InputError(f"{name} is a list of texts without prompts: {NO_PROMPTS}; {questions}.")
    return items


def _zipped(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[Any]:
    return [dict(zip(head, row, strict=False)) for row in rows]


def _wrapped(record: dict[str, Any]) -> Any:
    """The one list, or the one object, that an object wraps; None where it wraps none."""
    lists = [value for value in record.values() if isinstance(value, list)]
    if len(lists) == 1 and (len(record) == 1 or any(isinstance(item, dict) for item in lists[0])):
        return None if any(key in (*BETTER, *WORSE) for key in record) else lists[0]
    inner = next(iter(record.values())) if len(record) == 1 else None
    return inner if isinstance(inner, dict) else None


def _split(record: dict[str, Any]) -> list[Any] | None:
    """The records of what pandas calls "split": names of columns, and rows."""
    head, rows = record.get("columns"), record.get("data")
    if not isinstance(head, list) or not isinstance(rows, list) or not all(isinstance(cell, str) for cell in head):
        return None
    return _zipped(head, rows) if rows and all(isinstance(row, list) for row in rows) else None


def _columns(record: dict[str, Any], name: str) -> list[Any] | None:
    """The records of columns, each a list, or an object with a row's number as the key; None for no such thing."""
    columns: dict[str, list[Any]] = {}
    rows: list[str] = []
    for key, value in record.items():
        if isinstance(value, dict):
            rows = rows or list(value)
            if list(value) != rows:
                return None
            value = list(value.values())
        if isinstance(value, list) and not any(isinstance(item, dict) for item in value):
            columns[key] = value
    if len(columns) < 2 or not names_columns(list(columns)):
        return None
    lengths = {key: len(column) for key, column in columns.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{shown(key)} {length}" for key, length in list(lengths.items())[:6])
        raise InputError(f"{name} has columns of different lengths ({said}), so it cannot be told which go together.")
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _refuse(record: dict[str, Any], name: str) -> None:
    """Raises InputError for an object of several lists that are no columns of pairs."""
    lists = {key: value for key, value in record.items() if isinstance(value, list) and value}
    if len(lists) < 2 or any(key in (*BEFORE, *BETTER, *WORSE) for key, items in lists.items() if _objects(items)):
        return
    if all(map(_objects, lists.values())):
        raise InputError(f"{name} has the parts {listed(list(lists))}: {OF_ITS_OWN}.")
    if not any(map(_objects, lists.values())) and len(lists) == len(record):
        some = "two lists" if len(lists) == 2 else "lists"
        raise InputError(f"{name} holds {some} of texts without prompts ({listed(list(lists))}): {NO_PROMPTS}.")


def _objects(items: list[Any]) -> bool:
    return any(isinstance(item, dict) for item in items)
