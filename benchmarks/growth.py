"""How time and memory grow with pairs, tokens, layers and rows: a plot of each, and the peaks of 100 and 1,000 pairs.

Every point is measured in a process of its own, and its memory as what the work takes at most beside what lay there
before: the weights, which are the same at every point, would hide it. Linux only.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from plotly.subplots import make_subplots

from benchmarks import ours
from benchmarks.results import HERE, Part
from caa_core.data.presets import find_pairs, presets
from caa_core.model.catalog import DEFAULT_MODEL
from caa_core.model.loading import load
from caa_core.progress import finish
from caa_core.reports.style import BLUE, ORANGE
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate
from caa_core.steering.interventions import Steer
from caa_core.vectors.extraction import extract
from caa_core.vectors.vector import load_vector

SIZES = {
    "pairs": (50, 100, 250, 500, 1000, 2000),
    "layers": (1, 5, 10, 20, 30),
    "tokens": (20, 40, 80, 160, 320, 640),
    "rows": (1, 2, 4, 8, 16, 32),
}
AXES = {
    "pairs": "pairs read at all layers",
    "layers": "layers read of 250 pairs",
    "tokens": "tokens written, two rows",
    "rows": "rows of 80 tokens, own plans",
}
PLOT = HERE / "growth.svg"
PEAK = Path("/proc/self/clear_refs")


def measure() -> Part:
    """All points, once each, and the plot."""
    part = Part(1)
    figure = make_subplots(
        2, len(SIZES), vertical_spacing=0.1, horizontal_spacing=0.06, column_titles=list(SIZES), shared_xaxes="columns"
    )
    for column, (what, sizes) in enumerate(SIZES.items(), 1):
        points = {size: _apart(what, size) for size in sizes}
        for row, (unit, colour) in enumerate((("seconds", BLUE), ("MiB", ORANGE)), 1):
            values = [point[unit] for point in points.values()]
            figure.add_scatter(x=list(sizes), y=values, row=row, col=column, line_color=colour, showlegend=False)
            figure.update_yaxes(rangemode="tozero", row=row, col=column)
        figure.update_xaxes(title=AXES[what], row=2, col=column)
        for size, point in points.items():
            said = f"{point['seconds']:.2f} s, {point['MiB']:.0f} MiB beside the weights"
            part.lines.append((f"growth, {what}, {point['dtype']}", f"{size}", said))
        if what == "pairs":
            part.claim(
                "peak memory of 1,000 pairs over that of 100", "≤ 1.2", points[1000]["peak"] / points[100]["peak"]
            )
    figure.update_yaxes(title="seconds", row=1, col=1)
    figure.update_yaxes(title="memory of the work, MiB", row=2, col=1)
    figure.update_layout(template="plotly_white", width=1200, height=560, margin={"l": 70, "r": 20, "t": 40, "b": 50})
    figure.write_image(PLOT)
    return part


def _apart(what: str, size: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.growth", what, str(size)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def point(what: str, size: int) -> dict[str, Any]:
    """Seconds of one piece of work, the MiB that it took at most beside what was there before, and the peak of both."""
    model = ours.endless(load(DEFAULT_MODEL))
    pairs = find_pairs("joy:ab")
    vector = load_vector(presets()["joy"].vector_file)

    def extraction(count: int, layers: int) -> None:
        repeated = pairs.pairs * (count // len(pairs.pairs) + 1)
        finish(extract(model, replace(pairs, pairs=repeated[:count]), range(layers)))

    def decoding(tokens: int, rows: int) -> None:
        prompt = ours.prompt(model)
        steers = [Steer(vector.at(i % 24), i % 24, 0.5) for i in range(rows)]
        finish(generate(model, [BatchRow(prompt, (steer,)) for steer in steers], Decoding(tokens)))

    extraction(8, 1)  # the libraries' own first pass
    work = {
        "pairs": lambda: extraction(size, model.num_layers),
        "layers": lambda: extraction(250, size),
        "tokens": lambda: decoding(size, 2),
        "rows": lambda: decoding(80, size),
    }[what]
    PEAK.write_text("5")  # begin anew, from what is there now
    before = _peak()
    seconds = ours.seconds(work)
    dtype = str(model.dtype).removeprefix("torch.")
    return {"seconds": seconds, "MiB": _peak() - before, "peak": _peak(), "dtype": dtype}


def _peak() -> float:
    """The most memory that this process has had, in MiB. Unlike `ru_maxrss` it holds nothing of the parent's."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    print(json.dumps(point(sys.argv[1], int(sys.argv[2]))))
