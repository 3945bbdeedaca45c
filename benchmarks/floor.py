"""Why making vectors is not faster: where the floor's time goes, and how near its products are to the machine's."""

from collections import Counter

import torch

from benchmarks import ours
from benchmarks.ours import DTYPES
from benchmarks.results import Part
from caa_core.data.pairs import Dataset
from caa_core.model.catalog import DEFAULT_MODEL
from caa_core.model.loading import load

PRODUCTS, ATTENTION = "matrix products", "attention"
KINDS = {"aten::mm": PRODUCTS, "aten::addmm": PRODUCTS, "aten::_scaled_dot_product_flash_attention_for_cpu": ATTENTION}
SIDE = 2048


def measure(dataset: Dataset, rounds: int) -> Part:
    """One pass of the bare trunk in each dtype, by kind of work."""
    part = Part(rounds)
    for dtype in DTYPES:
        part.lines += _profiled(dataset, dtype)
        peak = f"{_peak(rounds, dtype):.0f} GFLOP/s"
        part.lines.append((f"one product of {SIDE} × {SIDE} matrices, {dtype}", "torch", peak))
    return part


def _profiled(dataset: Dataset, dtype: str) -> list[tuple[str, str, str]]:
    """Lines, the kind that takes the most time first."""
    model = load(DEFAULT_MODEL, dtype)
    ours.bare_trunk(model, dataset.first(8))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], with_flops=True) as profile:
        ours.bare_trunk(model, dataset)
    microseconds: Counter[str] = Counter()
    operations = 0
    for event in profile.key_averages():
        kind = KINDS.get(event.key, "everything else")
        microseconds[kind] += event.self_cpu_time_total
        operations += event.flops if kind == PRODUCTS else 0
    total = sum(microseconds.values())
    lines = []
    for kind, time in microseconds.most_common():
        rate = f", {operations / time / 1e3:.0f} GFLOP/s" if kind == PRODUCTS else ""
        lines.append(
            (f"the floor of {len(dataset.pairs)} pairs of {dataset.name}, {dtype}", kind, f"{time / total:.0%}{rate}")
        )
    return lines


def _peak(rounds: int, dtype: str) -> float:
    """GFLOP/s of a large product, the best of some rounds."""
    a, b = torch.randn(2, SIDE, SIDE, dtype=getattr(torch, dtype))
    return max(2 * SIDE**3 / ours.seconds(lambda: a @ b) / 1e9 for _ in range(rounds + 1))
