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
    if _rows_of_the_hub(value.get("rows")):
        return [row["row"] for row in value["rows"]]
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


def _rows_of_the_hub(rows: Any) -> bool:
    """True for the rows that the hub's dataset server gives, each beside its number."""
    return (
        isinstance(rows, list)
        and bool(rows)
        and all(isinstance(row, dict) and "row_idx" in row and isinstance(row.get("row"), dict) for row in rows)
    )


def _of_list(items: list[Any], name: str) -> list[Any]:
    if items and all(isinstance(item, list) and len(item) == 1 and isinstance(item[0], dict) for item in items):
        return [item[0] for item in items]
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
    """The one list of objects, or the one object, that an object wraps beside what tells of it; None for no such."""
    if any(key in (*BETTER, *WORSE) for key in record):
        return None
    lists = [value for value in record.values() if isinstance(value, list)]
    objects = [items for items in lists if _objects(items)]
    if len(record) == 1 and lists:
        return lists[0]
    if len(objects) == 1 and (len(list(filter(None, lists))) == 1 or names_columns(list(_first_object(objects[0])))):
        return objects[0]
    inner = [value for value in record.values() if isinstance(value, dict)]
    return inner[0] if (len(inner) == 1 and not lists and _wraps(inner[0])) or len(record) == len(inner) == 1 else None


def _first_object(items: list[Any]) -> dict[str, Any]:
    return next(item for item in items if isinstance(item, dict))


def _wraps(inner: dict[str, Any]) -> bool:
    """Whether an object is more than what tells of a list: it holds some itself."""
    return any(isinstance(value, list) for value in inner.values())


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
