"""What an experiment is asked for, declared once.

A request is a frozen dataclass whose options are declared with `option`. The command line, the endpoints, the page and
the settings in a report all read that declaration (`Request.options`), and so does the key of what is kept.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic, Self, TypeVar

from caa_core.errors import InputError

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Option(Generic[Value]):
    """One thing that can be chosen.

    label, info: what the page says at it, and below that. help: what the command line says. default: as it is typed;
    None for a whole number that may be left out. parse: what was typed, or already is a value, to the value; raises
    InputError. choices: what is offered; whatever `parse` takes may be typed beside it. flag, metavar: its name on the
    command line, where that is not the field's, and the name of its value there. off: what the command line says of
    `--no-NAME`, where there is one. required: whether it has no default.
    """

    label: str
    default: Any
    parse: Callable[[Any], Value]
    help: str = ""
    info: str = ""
    choices: Sequence[str] = ()
    flag: str = ""
    metavar: str | None = None
    off: str = ""
    required: bool = False

    @property
    def kind(self) -> type:
        """What is typed: str, int, float, bool, or a tuple of texts."""
        return int if self.default is None else type(self.default)

    def value(self, typed: Any) -> Value:
        """The value of what was typed; text left empty is the default. Raises InputError, which names the option."""
        if self.kind is str and (typed is None or (isinstance(typed, str) and not typed.strip())):
            typed = self.default
        try:
            return self.parse(typed)
        except InputError:
            raise
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{self.label}: {str(typed)[:60]!r} is nothing that can be chosen.") from error


def option(declared: Option[Any], **changes: Any) -> Any:
    """A dataclass field that is an option; `changes` are what is otherwise in this request."""
    declared = replace(declared, **changes)
    metadata = {"option": declared}
    if declared.required:
        return field(metadata=metadata)
    return field(default=declared.parse(declared.default), metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What an experiment is asked for: what it is about, and options."""

    @classmethod
    def options(cls) -> dict[str, Option[Any]]:
        """Its options by name, in the order in which they were declared."""
        return {one.name: one.metadata["option"] for one in fields(cls) if "option" in one.metadata}

    @classmethod
    def parse(cls, **given: Any) -> Self:
        """From options as they were typed, and the rest as it is. Raises InputError, which names the option."""
        options = cls.options()
        return cls(**{name: options[name].value(one) if name in options else one for name, one in given.items()})

    @classmethod
    def chosen(cls, form: Mapping[str, Any]) -> dict[str, Any]:
        """Those of a form's values that are options, for `parse`."""
        return {name: form[name] for name in cls.options() if name in form}

    def settings(self) -> dict[str, Any]:
        """The options' values as plain data."""
        return {name: _plain(getattr(self, name)) for name in self.options()}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
