"""How strong a multiplier is, in words."""

import json
from dataclasses import replace

import pytest

from caa_core.measuring.costs.gauge import BREAKS, GOOD, LIGHT, STRONG, Dose, Gauge, measure_gauge
from caa_core.measuring.effect import by_layer
from caa_core.model.prompts import ask_pair
from caa_core.progress import finish
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate
from caa_core.steering.interventions import Steer
from caa_core.steering.sampling import repetition
from caa_core.steering.scoring import score
from tests.helpers.data import PLANTED
from tests.helpers.vectors import random_vector, towards

# A cost that falls again further out, and text that repeats itself on one side alone.
GAUGE = Gauge(
    (
        Dose(-2.0, 0.5, 0.6, 0.0),
        Dose(-1.0, 0.05, 0.08, 0.0),
        Dose(1.0, 0.2, 0.3, 0.1),
        Dose(2.0, 0.8, 1.0, 0.3),
        Dose(3.0, 0.6, 0.7, 0.7),
    ),
    "here",
)


@pytest.mark.parametrize(
    ("multiplier", "word"),
    [
        (0.4, LIGHT),
        (0.6, GOOD),
        (1.2, GOOD),
        (1.4, STRONG),  # by the upper end of the interval, which is on its way from 0.3 to 1
        (2.4, STRONG),
        (2.6, BREAKS),  # half of the text repeats itself
        (9.0, BREAKS),  # it does not come together again
        (-1.0, LIGHT),
        (-2.0, STRONG),
        (-2.1, ""),  # further out than was measured
    ],
)
def test_a_multiplier_has_a_word_as_far_as_was_measured(multiplier, word):
    assert GAUGE.word(multiplier) == word


def test_what_is_safe_and_where_text_falls_apart():
    assert GAUGE.safe == (-1.0, 1.0)
    steps = [round(k / 10, 1) for k in range(-40, 41)]
    assert GAUGE.breaking(steps) == [2.5]
    assert [word for *_, word in GAUGE.bands(steps)] == ["", STRONG, GOOD, LIGHT, GOOD, STRONG, BREAKS]
    assert GAUGE.bands(steps)[-1][:2] == (2.5, 4.0)
    # What has no interval is not called safe, though it has a word.
    without = Gauge((Dose(1.0, 0.2), Dose(2.0, 3.0)))
    assert without.safe is None and [without.word(m) for m in (1.0, 2.0, -1.0)] == [GOOD, BREAKS, ""]
    assert Gauge(()).word(1.0) == ""


def test_it_is_kept_as_plain_data():
    kept = json.loads(json.dumps(GAUGE.summary(), allow_nan=False))
    assert kept["safe"] == [-1.0, 1.0] and kept["doses"][-1]["word"] == BREAKS
    doses = [{name: value for name, value in one.items() if name != "word"} for one in kept["doses"]]
    assert Gauge.of(doses, "here") == GAUGE


def test_it_is_measured_by_passes_and_written_answers(tiny_llama):
    vector = towards(tiny_llama, "!", ".", 2.0)
    found = finish(measure_gauge(tiny_llama, PLANTED, vector, 3, (-1.0, 0.0, 2.0)))
    assert [dose.multiplier for dose in found.doses] == [-1.0, 2.0]  # of nothing there is nothing to know
    steer = Steer(vector.at(3), 3, 2.0)
    scores = finish(score(tiny_llama, PLANTED.pairs, [(steer,)]))
    assert found.doses[1].kl == pytest.approx(scores.kl[1].mean().item(), rel=1e-5)
    assert found.doses[1].high > found.doses[1].kl > found.doses[0].kl > 0
    rows = [BatchRow(ask_pair(tiny_llama.tokenizer, pair), (steer,)) for pair in PLANTED.pairs[:6]]
    shares = [repetition(text.ids) for text in finish(generate(tiny_llama, rows, Decoding(48)))]
    assert found.doses[1].repetition == pytest.approx(sum(shares) / len(shares))


def test_an_effect_by_layer_is_the_slope_of_the_exact_change(tiny_llama):
    vector = towards(tiny_llama, "!", ".", 2.0)
    vector = replace(vector, layers={1: random_vector(tiny_llama), **vector.layers})
    step, found = 0.01, finish(by_layer(tiny_llama, PLANTED, vector))
    assert [*found] == [1, 3] and found[3] > 0
    for layer, slope in found.items():
        runs = [(Steer(vector.at(layer), layer, sign * step),) for sign in (1, -1)]
        _, up, down = finish(score(tiny_llama, PLANTED.pairs, runs)).preference.mean(1)
        assert slope == pytest.approx(((up - down) / (2 * step)).item(), rel=0.05, abs=1e-3)
