"""How long somebody waits for the first token of a chat while somebody else's sweep runs, beside an idle app."""

import time
from collections.abc import Generator
from statistics import median
from typing import Any

from benchmarks import ours
from benchmarks.results import Part
from caa_core.app.studio import Studio
from caa_core.app.worker import Job
from caa_core.data.presets import find_test_pairs, presets
from caa_core.measuring.sweep import Sweep, sweep
from caa_core.metrics.items import choose_items
from caa_core.model.catalog import DEFAULT_MODEL
from caa_core.model.loading import SteerableModel
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import side_by_side
from caa_core.steering.interventions import AFTER_PROMPT, Steer
from caa_core.vectors.vector import SteeringVector, load_vector

# Seconds between two chats, so that they meet every part of a sweep.
PAUSE = 0.7
CHATS = 8


def measure(rounds: int) -> Part:
    """First tokens in turns: some on an idle app, some beside a sweep over all layers."""
    studio = Studio(DEFAULT_MODEL, say=lambda _: None)
    vector = load_vector(presets()["joy"].vector_file)
    idle, beside = [], []
    _first_token(studio, vector)
    for _ in range(rounds):
        idle += [_first_token(studio, vector) for _ in range(CHATS)]
        job = _sweep(studio, vector)
        beside += [_first_token(studio, vector) for _ in range(CHATS)]
        if job.result:
            raise RuntimeError("The sweep ended before the chats did: it needs more items.")
        job.stop()
        job.wait()
    part = Part(rounds)
    part.add("first token of two columns", **{"idle app": median(idle), "while a sweep runs": median(beside)})
    part.claim("first token while a sweep runs over that on an idle app", "≤ 3", median(beside) / median(idle))
    return part


def _sweep(studio: Studio, vector: SteeringVector) -> Job:
    def work(model: SteerableModel) -> Generator[Any, None, Sweep]:
        items = yield from choose_items(model, find_test_pairs("joy:ab"))
        return (yield from sweep(model, items, vector, list(vector.layers), ours.MULTIPLIERS))

    return studio.run(work)


def _first_token(studio: Studio, vector: SteeringVector) -> float:
    time.sleep(PAUSE)
    begun = time.perf_counter()
    steers = (Steer(vector.at(12), 12, 1.5),)
    job = studio.run(lambda model: side_by_side(model, ours.prompt(model), steers, AFTER_PROMPT, Decoding(1)))
    job.wait()
    return time.perf_counter() - begun
