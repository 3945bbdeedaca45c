"""Behaviours to measure beside each other: each with pairs to make a vector from, held-out items, and instructions.

A folder of behaviours is laid out as the CAA repository lays out its data (arXiv 2312.06681): in a folder named after
the behaviour `generate_dataset.json`, `test_dataset_ab.json`, and perhaps `instructions.json`. Of one file, as
Anthropic's evaluations come, half of the prompts are held out.
"""

import json
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from caa_core.data.packed import count_entries
from caa_core.data.pairs import Dataset, pairs_of, read_pairs
from caa_core.data.presets import PRESETS, behaviour_of, find_pairs, find_test_pairs, presets
from caa_core.data.tables import read_tables
from caa_core.data.text import clean
from caa_core.errors import InputError
from caa_core.limits import HERE
from caa_core.vectors.splits import halves, prompts_of
from caa_core.vectors.vector import SteeringVector

PAIRS_FILE, TEST_FILE, INSTRUCTIONS_FILE = "generate_dataset.json", "test_dataset_ab.json", "instructions.json"
FILES = (PAIRS_FILE, TEST_FILE, INSTRUCTIONS_FILE)
TEST_SUFFIX = "_test"
MOST_BEHAVIOURS = 30
# Bytes of all files of a zip.
MOST_UNPACKED = 20_000_000
# Files in a zip, of which few make up behaviours.
MOST_FILES = 20_000
LONGEST_INSTRUCTION = 2000
# Bytes of a file with two of them, however they are escaped.
MOST_INSTRUCTIONS = 50_000


@dataclass(frozen=True)
class Instructions:
    """System prompts that ask for a behaviour, and for its opposite; in words of our own, unless a file has others."""

    positive: str
    negative: str

    @classmethod
    def of(cls, found: Any, where: str) -> "Instructions":
        """From `{"positive": ..., "negative": ...}`. Raises InputError, which names `where`, for anything else."""
        sides = [found.get(side) for side in ("positive", "negative")] if isinstance(found, dict) else []
        texts = [text.strip() for text in sides if isinstance(text, str)]
        if len(texts) != 2 or not all(0 < len(text) <= LONGEST_INSTRUCTION for text in texts):
            raise InputError(
                f'{where} should be {{"positive": "...", "negative": "..."}}, two system prompts of at most '
                f"{LONGEST_INSTRUCTION} characters."
            )
        return cls(*texts)


@dataclass(frozen=True)
class Behaviour:
    """pairs: what its vector is made from. test: held-out items. instructions: None where there are none.

    vector: one that is there already; None where it is to be made. made_from: whether the pairs are those it was made
    from, which else only stand in for them.
    """

    name: str
    pairs: Dataset
    test: Dataset
    instructions: Instructions | None = None
    vector: SteeringVector | None = None
    made_from: bool = True

    @property
    def wordings(self) -> tuple[str, ...]:
        """System prompts that ask for it, to stand beside its vector: a preset's, those that ship for its name, or the
        one of its instructions; none without any.
        """
        if preset := behaviour_of(self.test.sha256):
            return preset.wordings
        if not self.instructions:
            return ()
        shipped = find_instructions(self.name)
        same = shipped is not None and shipped.positive == self.instructions.positive
        return (self.instructions.positive, *(_also_shipped().get(self.name, ()) if same else ()))

    @property
    def has_letters(self) -> bool:
        """Whether pairs can be made into those of both letter orders: Yes and No cannot."""
        return any(pair.letters for pair in self.pairs.pairs)

    def in_orders(self, both: bool) -> Dataset:
        """The pairs, in both letter orders where that is asked for, they have letters, and a vector is made of them."""
        return self.pairs.in_both_letter_orders() if both and self.has_letters and not self.vector else self.pairs

    def sample(self, pairs: int | None = None, items: int | None = None, seed: int | None = None) -> "Behaviour":
        """With so many pairs and test items only: the first ones, or drawn with a seed. See `Dataset.first`."""
        return replace(self, pairs=self.pairs.first(pairs, seed), test=self.test.first(items, seed))


def find_behaviours(sources: Sequence[str]) -> list[Behaviour]:
    """Behaviours of presets' names ("joy", as questions "joy:ab"), of folders that hold behaviours, or are one, and of
    files of pairs, of which half of the prompts are held out; see `splits.halves`.

    Raises:
        InputError: there is no such thing, one name stands for two, or some have choices and others free text, which
            have no common scale.
    """
    return check_behaviours([behaviour for source in sources for behaviour in _behaviours_of(source)])


def check_behaviours(found: Sequence[Behaviour]) -> list[Behaviour]:
    """Raises InputError where behaviours cannot be measured beside each other."""
    if not 0 < len(found) <= MOST_BEHAVIOURS:
        raise InputError(f"Choose between 1 and {MOST_BEHAVIOURS} behaviours, not {len(found)}.")
    names = [behaviour.name for behaviour in found]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"Two behaviours are called {name}; rename one of them.")
    choices = {behaviour.test.pairs[0].is_choice: behaviour.name for behaviour in found}
    if len(choices) > 1:
        raise InputError(
            f"{choices[True]} has answers to choose from and {choices[False]} free text, which have no common scale: "
            "measure them apart, or take presets as questions (such as joy:ab)."
        )
    return list(found)


def behaviours_of_files(files: Sequence[Path]) -> list[Behaviour]:
    """Behaviours of uploaded files: pairs in NAME.json (or another table) and held-out items in NAME_test.json, or a
    zip of folders as `find_behaviours` takes them.

    Raises:
        InputError: one of two files is missing, or cannot be read.
    """
    if len(files) > 2 * MOST_BEHAVIOURS:
        raise InputError(f"These are {len(files)} files; {2 * MOST_BEHAVIOURS} can be taken at most.")
    tables = {path.stem: path for path in files if path.suffix.lower() != ".zip"}
    asked = []
    for name, path in sorted(tables.items()):
        if name.endswith(TEST_SUFFIX) and name.removesuffix(TEST_SUFFIX) in tables:
            continue
        test = tables.get(name + TEST_SUFFIX)
        if not test:
            raise InputError(f"{path.name} has no held-out items beside it: add {name}{TEST_SUFFIX}{path.suffix}.")
        asked.append((name, path, test))
    found = [Behaviour(*read, find_instructions(read[0])) for read in _read(asked)]
    for path in files:
        if path.suffix.lower() == ".zip":
            found += _of_zip(path)
    return found


def _read(asked: Sequence[tuple[str, Path, Path]]) -> Iterator[tuple[str, Dataset, Dataset]]:
    """Name, pairs and held-out items of behaviours, of which the files of both are named; all are read together."""
    tables = iter(read_tables([path for _, *paths in asked for path in paths]))
    for name, *_ in asked:
        yield name, pairs_of(next(tables), None, name), pairs_of(next(tables), None, f"{name} (held out)")


def _of_zip(path: Path) -> list[Behaviour]:
    """Only the files that make up behaviours are unpacked, under names of our own."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            if count_entries(path) > MOST_FILES:
                raise InputError(f"{path.name} holds more than {MOST_FILES:,} files; zip the behaviours alone.")
            with HERE(), zipfile.ZipFile(path) as packed:
                left, entries = MOST_UNPACKED, list(filter(_behaviour_in, packed.infolist()))
                if len(entries) > len(FILES) * MOST_BEHAVIOURS:
                    raise InputError(f"A zip may hold {MOST_BEHAVIOURS} behaviours at most.")
                for entry in entries:
                    left -= _unpack(packed, entry, Path(folder), left)
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
            raise InputError(f"{path.name} is not a zip file that can be read.") from error
        if not any(Path(folder).glob(f"*/{PAIRS_FILE}")):
            raise InputError(f"{path.name} holds no folder NAME with {PAIRS_FILE} and {TEST_FILE}.")
        return _behaviours_of(folder)


def _behaviour_in(entry: zipfile.ZipInfo) -> str:
    """Of which behaviour a file in a zip is a part; "" for others."""
    *above, name = entry.filename.replace("\\", "/").split("/")
    behaviour = clean(above[-1]) if above else ""
    return behaviour if name in FILES and re.fullmatch(r"[\w. -]*\w", behaviour) else ""


def _unpack(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, most: int) -> int:
    """Unpack a file that makes up a behaviour, if it has no more than so many bytes. Returns how many it has."""
    behaviour, name = _behaviour_in(entry), re.split(r"[/\\]", entry.filename)[-1]
    if len(list(folder.iterdir())) >= MOST_BEHAVIOURS and not (folder / behaviour).exists():
        raise InputError(f"A zip may hold {MOST_BEHAVIOURS} behaviours at most.")
    with packed.open(entry) as source:
        text = source.read(most + 1)
    if len(text) > most:
        raise InputError(f"A zip may hold {MOST_UNPACKED // 1_000_000} MB at most; with {behaviour}/{name} it is more.")
    (folder / behaviour).mkdir(exist_ok=True)
    (folder / behaviour / name).write_bytes(text)
    return len(text)


def find_instructions(name: str) -> Instructions | None:
    """The instructions that ship with the project for a behaviour of this name; None where there are none."""
    return _shipped().get(name.partition(":")[0])


def _shipped() -> dict[str, Instructions]:
    return {name: Instructions.of(texts, name) for name, texts in _shipped_file().items()}


def _also_shipped() -> dict[str, tuple[str, ...]]:
    """Other wordings of what instructions ask for, where there are any."""
    return {name: tuple(texts.get("also", ())) for name, texts in _shipped_file().items()}


@cache
def _shipped_file() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((PRESETS / INSTRUCTIONS_FILE).read_text(encoding="utf-8"))
    return found


def _behaviours_of(source: str) -> list[Behaviour]:
    if source.partition(":")[0] in presets():
        return [Behaviour(source, find_pairs(source), find_test_pairs(source), find_instructions(source))]
    folder = Path(source)
    if folder.is_file():
        return [_from_file(folder)]
    if (folder / PAIRS_FILE).is_file():
        return _from_folders([folder])
    folders = sorted(path.parent for path in folder.glob(f"*/{PAIRS_FILE}"))
    if not folders:
        raise InputError(
            f"{source[:80]!r} is neither a preset, nor a file of pairs, nor a folder of behaviours, which holds "
            f"NAME/{PAIRS_FILE} and NAME/{TEST_FILE} for each of them."
        )
    return _from_folders(folders)


def _from_file(path: Path) -> Behaviour:
    found = read_pairs(path)
    # Not every second prompt: where Yes and No take turns, the pairs would all say Yes, and the held-out items No.
    kept, held_out = (tuple(found.pairs[i] for i in half) for half in halves(found.pairs))
    if len(kept) < 2 or not held_out:
        count = len(set(prompts_of(found.pairs)))
        raise InputError(f"{path.name} has too few prompts ({count}) to hold out half of them.")
    test = replace(found, name=f"{found.name} (half of the prompts, held out)", pairs=held_out)
    return Behaviour(found.name, replace(found, pairs=kept), test, find_instructions(found.name))


def _from_folders(folders: Sequence[Path]) -> list[Behaviour]:
    names = [folder.resolve().name for folder in folders]
    for folder, name in zip(folders, names, strict=True):
        if not (folder / TEST_FILE).is_file():
            raise InputError(f"{name} has no {TEST_FILE}: held-out items are needed beside the pairs.")
    read = _read([(name, folder / PAIRS_FILE, folder / TEST_FILE) for folder, name in zip(folders, names, strict=True)])
    return [
        Behaviour(*found, _instructions_in(folder / INSTRUCTIONS_FILE) or find_instructions(found[0]))
        for folder, found in zip(folders, read, strict=True)
    ]


def _instructions_in(path: Path) -> Instructions | None:
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > MOST_INSTRUCTIONS:
            raise InputError(f"{path.parent.name}/{path.name} is too long for two system prompts.")
        found = json.loads(path.read_text(encoding="utf-8"))
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path.parent.name}/{path.name} is not a JSON file that can be read.") from error
    return Instructions.of(found, f"{path.parent.name}/{path.name}")
