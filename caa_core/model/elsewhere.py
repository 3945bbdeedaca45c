"""One job of a model in another process: plain data in, plain data out, from its beginning to its end.

Where a GPU is lent for seconds, as on ZeroGPU, it is there only inside of a function that another process runs, which
is forked from this one and gets pickled arguments. Functions that are `handed_over` run there as a whole when their
model was lent by `lend`, and here as ever for every other. Nothing of them is lost on the way: what they yield comes as
it is yielded, what they put into dicts that they were given (what is known already) comes along, and closing them ends
them between two steps there.
"""

import contextlib
import functools
import inspect
import itertools
import logging
import mmap
import pickle
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, MutableMapping
from contextvars import copy_context
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import torch

from caa_core.errors import InputError
from caa_core.model.loading import SteerableModel, load
from caa_core.progress import Waiting

Steps = Callable[..., Generator[Any, None, Any]]
Function = TypeVar("Function", bound=Steps)

# Who waits for the other process is asked so often whether it is to be ended.
SECONDS_BETWEEN_LOOKS = 0.05
# Until the first step: another process, the weights into its GPU, at so many bytes a second.
SECONDS_TO_BEGIN = 4.0
BYTES_A_SECOND = 4e9
# A token that is written takes each block so long, whose kernels are small; one that is read takes its multiplications,
# of which a GPU does so many a second. Both are far from what such a GPU can: a job that is cut off is worth nothing.
SECONDS_A_BLOCK = 0.002
MULTIPLICATIONS_A_SECOND = 2e13
LETTERS_A_TOKEN = 4
# A job asks for no less, and for no more, whatever it is.
LEAST_SECONDS, MOST_SECONDS = 10, 120
# As many jobs elsewhere can be ended by themselves. The byte of each lies in memory that forked processes share.
PLACES = 4096
_ENDED = mmap.mmap(-1, PLACES)
_places = itertools.count()

# What a message of an errand is.
YIELDS, RETURNS, RAISES = "yields", "returns", "raises"

log = logging.getLogger("caa_core")


@dataclass(frozen=True)
class Errand:
    """A job as plain data: a function by its name and pickled arguments, the model by what loads it (spec, dtype), the
    byte that ends it, and about how many seconds it takes.
    """

    function: str
    arguments: bytes
    model: tuple[str, str]
    place: int
    seconds: float


# Runs an errand to its end in another process: yields what `run_errand` does.
Runner = Callable[[Errand], Iterator[bytes]]


class AskedFor(Waiting):
    """Nothing was done yet: the other process is not there."""

    def __str__(self) -> str:
        return "Waiting for a GPU to be lent"


@dataclass(frozen=True)
class _Lent:
    key: tuple[str, str]
    runner: Runner


FUNCTIONS: dict[str, Steps] = {}
# Models of this process whose jobs run elsewhere; and in the other process, those that are here.
_LENT: WeakKeyDictionary[SteerableModel, _Lent] = WeakKeyDictionary()
_HERE: dict[tuple[str, str], SteerableModel] = {}


def lend(model: SteerableModel, spec: str, dtype: str, runner: Runner) -> None:
    """Let jobs of a model run elsewhere from now on, where it is this one, or is loaded again by what loaded it."""
    _LENT[model] = _Lent((spec, dtype), runner)


def handed_over(function: Function) -> Function:
    """A module's function, whose first argument is a model, as one whose jobs can run elsewhere."""
    name = f"{function.__module__}.{function.__qualname__}"
    FUNCTIONS[name] = function

    @functools.wraps(function)
    def either(model: SteerableModel, *given: Any, **named: Any) -> Generator[Any, None, Any]:
        lent = _LENT.get(model) if _LENT else None
        if not lent:
            return function(model, *given, **named)
        bound = inspect.signature(function).bind(model, *given, **named)
        return _hand_over(model, lent, name, dict(list(bound.arguments.items())[1:]))

    return cast(Function, either)


def run_errand(errand: Errand) -> Iterator[bytes]:
    """Run one job to its end, in this process. Yields, pickled, (YIELDS, what it yields), and last (RETURNS, its
    result) or (RAISES, its error); each with what it has put since into the dicts that it was given, by their names.
    """
    arguments: dict[str, Any] = pickle.loads(errand.arguments)
    known = _dicts(arguments)
    before = {name: set(given) for name, given in known.items()}

    def said(kind: str, what: Any) -> bytes:
        news = {}
        for name, given in known.items():
            # What lies in a dict may have been changed where it lies.
            again = [key for key, one in given.items() if isinstance(one, MutableMapping)] if kind != YIELDS else []
            if new := {key: given[key] for key in [*(given.keys() - before[name]), *again]}:
                news[name] = new
            before[name] |= new.keys()
        return pickle.dumps((kind, what, news))

    steps: Generator[Any, None, Any] | None = None
    try:
        steps = FUNCTIONS[errand.function](_brought(errand.model), **arguments)
        while not _ENDED[errand.place]:
            try:
                event = next(steps)
            except StopIteration as end:
                yield said(RETURNS, end.value)
                return
            yield said(YIELDS, event)
    except InputError as error:
        yield said(RAISES, error)
    except Exception as error:
        log.error("a job failed in the other process", exc_info=error)
        yield said(RAISES, RuntimeError(type(error).__name__))
    finally:
        if steps:
            steps.close()


def _dicts(arguments: Mapping[str, Any]) -> dict[str, MutableMapping[Any, Any]]:
    """Dicts among arguments, and in those that are data of which parts can change, by name."""
    found: dict[str, MutableMapping[Any, Any]] = {}
    for name, given in arguments.items():
        if isinstance(given, MutableMapping):
            found[name] = given
        elif hasattr(given, "__dict__") and is_dataclass(given):
            found |= {f"{name}.{part}": one for part, one in vars(given).items() if isinstance(one, dict)}
    return found


def seconds_of(model: SteerableModel, arguments: Any) -> float:
    """About how long a job takes on a GPU, from the letters and tokens in what it is asked, and as it is asked."""
    blocks = sum(one.numel() for block in model.blocks for one in block._module.parameters())
    read = _tokens(arguments) * _times(arguments) * 2 * blocks / MULTIPLICATIONS_A_SECOND
    written = _largest(arguments, "max_new_tokens") * model.num_layers * SECONDS_A_BLOCK
    moved = model.module.get_memory_footprint() / BYTES_A_SECOND
    return min(max(SECONDS_TO_BEGIN + moved + read + written, LEAST_SECONDS), MOST_SECONDS)


def _tokens(data: Any) -> float:
    """About how many tokens the texts in plain data have."""
    if isinstance(data, str):
        return len(data) / LETTERS_A_TOKEN
    return sum(map(_tokens, _parts(data)))


def _times(arguments: Any) -> int:
    """How often a job reads its texts: under each layer and multiplier, and each control."""
    cells = 1
    for name in ("layers", "multipliers", "multipliers_a", "multipliers_b"):
        cells *= max(1, int(_largest(arguments, name)))
    return cells + int(_largest(arguments, "exact_controls")) + int(_largest(arguments, "second_voices"))


def _largest(data: Any, name: str) -> float:
    """The largest of the numbers of a name in plain data, and of the lengths of lists that have it; else 0."""
    found = [0.0]
    for part_name, part in _named_parts(data):
        if part_name != name:
            found.append(_largest(part, name))
        elif isinstance(part, int | float):
            found.append(part)
        elif isinstance(part, list | tuple):
            found.append(len(part))
    return max(found)


def _named_parts(data: Any) -> list[tuple[str, Any]]:
    if is_dataclass(data) and not isinstance(data, type):
        return [(field.name, getattr(data, field.name)) for field in fields(data)]
    if isinstance(data, dict):
        return [(str(name), part) for name, part in data.items()]
    return [("", part) for part in data] if isinstance(data, list | tuple) else []


def _parts(data: Any) -> list[Any]:
    return [part for _, part in _named_parts(data)]


def _brought(key: tuple[str, str]) -> SteerableModel:
    """The model that an errand names, on this process's GPU where there is one."""
    if key not in _HERE:
        # Threads of OpenMP do not come along into a forked process, and one that waits for them waits for ever.
        torch.set_num_threads(1)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        own = next((model for model, lent in _LENT.items() if lent.key == key), None)
        if own:
            del _LENT[own]
            own.module.to(torch.device(device))  # type: ignore[arg-type]  # transformers wraps it
        _HERE.clear()  # of two there is no need
        _HERE[key] = own or load(*key, device)
    return _HERE[key]


def _hand_over(
    model: SteerableModel, lent: _Lent, function: str, arguments: dict[str, Any]
) -> Generator[Any, None, Any]:
    """The steps of a job that another process makes."""
    place, known = next(_places) % PLACES, _dicts(arguments)
    _ENDED[place] = 0
    seconds = seconds_of(model, arguments)
    errand = Errand(function, pickle.dumps(arguments), lent.key, place, seconds)
    said: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
    # Who asks is known by the thread's context, by which a GPU is lent to them.
    context = copy_context()
    threading.Thread(
        target=context.run, args=(_pump, lent.runner, errand, said), name="caa-elsewhere", daemon=True
    ).start()
    try:
        yield from _until_there(said)
        while True:
            came = said.get()
            if isinstance(came, Exception):
                raise came
            kind, what, news = pickle.loads(came)
            for name, new in news.items():
                known[name].update(new)
            if kind == RETURNS:
                return what
            if kind == RAISES:
                raise what
            yield what
    finally:
        _ENDED[place] = 1


def _until_there(said: "queue.SimpleQueue[bytes | Exception]") -> Iterator[Waiting]:
    """Yields as long as nothing has come, so that whoever else is at work goes on."""
    while said.empty():
        yield AskedFor(0, "", 0.0)
        threading.Event().wait(SECONDS_BETWEEN_LOOKS)


def _pump(runner: Runner, errand: Errand, said: "queue.SimpleQueue[bytes | Exception]") -> None:
    """Take what comes of an errand to its end, whether or not anybody wants it still: it ends by its byte."""
    try:
        with contextlib.closing(cast("Generator[bytes, None, None]", runner(errand))) as come:
            for event in come:
                said.put(event)
    except Exception as error:
        said.put(error)
    # It may have ended without a word, where it was told to.
    said.put(InputError("The GPU was taken away before this was done."))
