"""What was measured: lines with a median each, claims made of them, and where both are written."""

import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import psutil
import torch

from benchmarks.ours import DTYPES

HERE = Path(__file__).parent
FILE, README = HERE / "results.json", HERE / "README.md"
BEGIN, END = "<!-- written by make bench -->", "<!-- end of what make bench writes -->"


@dataclass(frozen=True)
class Claim:
    """A number that was asked for: `asked` is "≥" or "≤" and a bound."""

    what: str
    asked: str
    measured: float

    @property
    def met(self) -> bool:
        sign, bound = self.asked.split()
        return self.measured >= float(bound) if sign == "≥" else self.measured <= float(bound)


@dataclass
class Part:
    """Lines are (what, who, median)."""

    rounds: int
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    def add(self, what: str, **medians: float) -> None:
        """A line for each of several works, in seconds."""
        self.lines += [
            (what, name, f"{time:.2f} s" if time < 100 else f"{time:.0f} s") for name, time in medians.items()
        ]

    def claim(self, what: str, asked: str, measured: float) -> None:
        self.claims.append(Claim(what, asked, measured))


def medians(rounds: int, works: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Median seconds of each work, all of them run in turns."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(work())
    return {name: median(times) for name, times in found.items()}


def keep(name: str, part: Part) -> None:
    """Write a part over what an earlier run wrote of it, and the tables anew."""
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    known[name] = {"machine": _machine(), **asdict(part)}
    FILE.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n{_tables(known)}\n{END}{after}", encoding="utf-8")


def _tables(known: dict) -> str:
    """What was measured on each machine, since parts may be from several."""
    machines = dict.fromkeys(part["machine"] for part in known.values())
    return "\n\n".join(_table(machine, [p for p in known.values() if p["machine"] == machine]) for machine in machines)


def _table(machine: str, parts: list[dict]) -> str:
    claims, lines = (
        ["| claim | asked for | measured | rounds |", "|---|---|---|---|"],
        ["| what | who | median |", "|---|---|---|"],
    )
    for part in parts:
        for claim in (Claim(**given) for given in part["claims"]):
            missed = "" if claim.met else " (**not met**)"
            claims.append(f"| {claim.what} | {claim.asked} | {claim.measured:.3g}{missed} | {part['rounds']} |")
        lines += [f"| {' | '.join(line)} |" for line in part["lines"]]
    tables = [table for table in (claims, lines) if len(table) > 2]
    return "\n".join([f"Measured on {machine}.", *(row for table in tables for row in ("", *table))])


def _machine() -> str:
    processor = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor()
    )
    gigabytes = psutil.virtual_memory().total / 2**30
    card = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    lacks = "" if DTYPES[0] == "bfloat16" else " without bfloat16"
    return (
        f"{torch.get_num_threads()} threads of {processor}{lacks}, {gigabytes:.0f} GiB{card}, torch {torch.__version__}"
    )


def _cpuinfo() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text().splitlines() if file.exists() else []
