"""The behaviours that ship with the project, and finding contrast pairs by what a person types."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from caa_core.data.columns import Columns
from caa_core.data.hub import find_hub_dataset
from caa_core.data.pairs import Dataset, pairs_of, read_pairs, read_questions
from caa_core.data.tables import Table, read_table
from caa_core.errors import InputError

# Beside the package in a checkout, in it where it is installed.
PRESETS = next(folder / "presets" for folder in Path(__file__).parents[1:3] if (folder / "presets").is_dir())
CONTEST = Columns("prompt", "a", "b")
# In the name of data of which some were drawn (`Dataset.first`).
DRAWN = re.compile(r"drawn with seed (-?\d{1,18})\)")


@dataclass(frozen=True)
class Preset:
    """A behaviour that ships with the project: pairs, and settings found by trying on the embedded model.

    `layer` and `multiplier` are recommended for the model `model` (a catalogue key); `opposes` names the preset that
    pulls the other way, and `prompts` are good first things to say. `told` asks for the behaviour in words, and
    `also_told` in other ones, fixed before anything was measured; `begins` is how such an answer could begin.
    `measured` is what the vector does to held-out prompts there, under the names of `effect.Effect`; `doses` what its
    multipliers cost there, under the names of `costs.gauge.Dose`; `by_layer` what it does at each layer from 0, in nats
    a token for a multiplier of 1, to first order. Where something was not measured they are empty.
    """

    name: str
    description: str
    opposes: str
    model: str
    layer: int
    multiplier: float
    prompts: tuple[str, ...]
    told: str = ""
    also_told: tuple[str, ...] = ()
    begins: str = ""
    measured: dict[str, Any] = field(default_factory=dict)
    doses: tuple[dict[str, Any], ...] = ()
    by_layer: tuple[float, ...] = ()

    @property
    def wordings(self) -> tuple[str, ...]:
        """System prompts that ask for the behaviour."""
        return (self.told, *self.also_told)

    @property
    def folder(self) -> Path:
        return PRESETS / self.name

    @property
    def pairs_file(self) -> Path:
        return self.folder / "pairs.json"

    @property
    def vector_file(self) -> Path:
        """The vector for `model` that ships with the project."""
        return self.folder / "vector.safetensors"

    def dataset(self) -> Dataset:
        """The pairs that vectors are made from."""
        return _shipped(self.pairs_file, self.name)

    def test(self) -> Dataset:
        """The pairs that are held out for tests."""
        return _shipped(self.folder / "test.json", f"{self.name} (held out)")

    def contest(self) -> Dataset:
        """Prompts with this preset's answer (positive) and that of the one it opposes (negative)."""
        return _shipped(self.folder / "contest.json", f"{self.name} against {self.opposes}", CONTEST)

    def questions(self) -> tuple[str, ...]:
        """Open questions, which it shares with the one it opposes."""
        return self._shared("open.json")

    def reworded(self) -> Dataset:
        """The held-out pairs with their prompts in other words, which it shares with the one it opposes."""
        test = self.test()
        both = zip(test.pairs, self._shared("reworded.json"), strict=True)
        pairs = tuple(replace(pair, prompt=prompt) for pair, prompt in both)
        return replace(test, name=f"{self.name} (held out, in other words)", pairs=pairs)

    def _shared(self, name: str) -> tuple[str, ...]:
        """Texts that are kept once for two that oppose each other."""
        files = (PRESETS / preset / name for preset in (self.name, self.opposes))
        return tuple(json.loads(next(file for file in files if file.exists()).read_text(encoding="utf-8")))


@cache
def presets() -> dict[str, Preset]:
    """All presets by name."""
    cards = sorted(PRESETS.glob("*/card.json"))
    return {card.parent.name: _preset(card) for card in cards}


@cache
def _shipped(file: Path, name: str, columns: Columns | None = None) -> Dataset:
    """Pairs that ship, read once: of each vector and of all data it is asked whether they are a preset's."""
    return read_pairs(file, name, columns)


def _preset(card: Path) -> Preset:
    fields = json.loads(card.read_text(encoding="utf-8"))
    lists = {name: tuple(fields.get(name, ())) for name in ("prompts", "also_told", "doses", "by_layer")}
    return Preset(name=card.parent.name, **{**fields, **lists})


def find_pairs(data: str | Path, columns: Columns | None = None) -> Dataset:
    """Contrast pairs of a preset's name, of its A/B version ("joy:ab"), of a hub dataset ("hub:owner/name") or a file.

    Raises:
        InputError: there is no such data, or it is not made of contrast pairs.
    """
    if preset := _named(data):
        return _version(preset.dataset(), data)
    hub = find_hub_dataset(str(data))
    return pairs_of(hub, columns) if hub else read_pairs(Path(data), columns=columns)


def find_test_pairs(data: str | Path, columns: Columns | None = None) -> Dataset:
    """As `find_pairs`, but a preset's name stands for the pairs that are held out."""
    preset = _named(data)
    return _version(preset.test(), data) if preset else find_pairs(data, columns)


def find_contest(data: str | Path, columns: Columns | None = None) -> Dataset:
    """Prompts with an answer of voice A and one of voice B: a preset's name stands for its contest with the one that it
    opposes; else as `find_test_pairs`, where files may also have the columns `prompt`, `a` and `b`.
    """
    preset = presets().get(str(data))
    if preset:
        return preset.contest()
    table = find_table(data)
    if not columns and {"prompt", "a", "b"} <= set(table.fields):
        columns = CONTEST
    return pairs_of(table, columns)


def find_questions(data: str | Path) -> tuple[str, ...]:
    """Open questions of a preset's name, or of a file. Raises InputError for anything else."""
    preset = presets().get(str(data))
    return preset.questions() if preset else read_questions(Path(data))


def preset_behind(sha256: str) -> Preset | None:
    """The preset of whose pairs a vector says that it was made from them."""
    return next((preset for preset in presets().values() if preset.dataset().sha256 == sha256), None)


def behaviour_of(sha256: str) -> Preset | None:
    """The preset of whose pairs, or of those that it holds out, some data are."""
    there = ((preset, (preset.dataset().sha256, preset.test().sha256)) for preset in presets().values())
    return next((preset for preset, known in there if sha256 in known), None)


def in_other_words(items: Dataset) -> Dataset:
    """Items that a preset holds out, as texts or as questions, with what is asked put otherwise, line by line. Raises
    InputError for any others, of which no second wording is known.
    """
    preset = behaviour_of(items.sha256)
    both = zip(preset.test().pairs, preset.reworded().pairs, strict=True) if preset else ()
    other = {one.prompt: reworded.prompt for one, reworded in both}
    asked = [max(filter(pair.prompt.startswith, other), key=len, default="") for pair in items.pairs]
    if not all(asked):
        raise InputError(
            f"{items.name} in other words: a second wording is known of the presets' held-out items alone."
        )
    pairs = (  # the options of a letter stay behind it
        replace(pair, prompt=other[prompt] + pair.prompt.removeprefix(prompt))
        for pair, prompt in zip(items.pairs, asked, strict=True)
    )
    return replace(items, pairs=tuple(pairs))


class MadeFrom(Protocol):
    """What a vector says of its pairs (see `vector.Provenance`); what it does not say is empty, or 0."""

    @property
    def dataset(self) -> str: ...
    @property
    def dataset_sha256(self) -> str: ...
    @property
    def num_pairs(self) -> int: ...
    @property
    def pairs_sha256(self) -> str: ...


def pairs_behind(said: MadeFrom) -> Dataset | None:
    """The very pairs of a vector, where they are a preset's: its texts or its A/B questions, all or some of them, in
    one letter order or both. None where they are others, or cannot be told.

    Vectors from before do not say which pairs they were made from, but the name of their data and how many these are.
    """
    preset = preset_behind(said.dataset_sha256)
    return pairs_in(preset.dataset(), said) if preset else None


def pairs_in(whole: Dataset, said: MadeFrom) -> Dataset | None:
    """As `pairs_behind`, of any data."""
    for found in _choices(whole, said):
        if said.pairs_sha256:
            if found.pairs_sha256 == said.pairs_sha256:
                return found
        elif (found.name, len({pair.line for pair in found.pairs})) == (said.dataset, said.num_pairs):
            return found
    return None


def _choices(whole: Dataset, said: MadeFrom) -> Iterator[Dataset]:
    """What so many pairs can be that were chosen of a preset, in the order in which people choose."""
    drawn = DRAWN.search(said.dataset)
    for version in _versions(whole):
        some = [version]
        if 1 < said.num_pairs < len(version.pairs):
            some = [version.first(said.num_pairs), *([version.first(said.num_pairs, int(drawn[1]))] if drawn else [])]
        for chosen in some:
            yield chosen
            if chosen.is_lettered:
                yield chosen.in_both_letter_orders()


def _versions(whole: Dataset) -> Iterator[Dataset]:
    yield whole
    with suppress(InputError):  # they have letters already, or nothing to choose from
        yield whole.as_questions()


def find_table(data: str | Path) -> Table:
    """As `find_pairs`, but before anything is known about the fields."""
    if preset := _named(data):
        if ":" in str(data):
            return _version(preset.dataset(), data).table()
        return replace(read_table(preset.pairs_file), name=preset.name)
    return find_hub_dataset(str(data)) or read_table(Path(data))


def _named(data: str | Path) -> Preset | None:
    return presets().get(str(data).partition(":")[0])


def _version(dataset: Dataset, data: str | Path) -> Dataset:
    name, colon, version = str(data).partition(":")
    if version == "ab":
        return dataset.as_questions()
    if colon:
        raise InputError(f"There is no '{str(data)[:80]}'; the preset '{name}' has one other version, '{name}:ab'.")
    return dataset
