"""What a step of a lesson reads out of a run: which of a few outcomes it had, and by which numbers.

A run is plain data, as it is kept for a person or ships as made before. Nothing here knows a lesson's words, so the
same check serves any model, and lessons of others.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from caa_core.contest.dominance import Contest
from caa_core.errors import InputError
from caa_core.metrics.by_item import ByItem
from caa_core.metrics.cross_fitting import EFFECT, LEVEL, NONE_SHOWN, UNDECIDED, too_few
from caa_core.metrics.estimates import mean_of
from caa_core.steering.sampling import REPEATS
from caa_core.vectors.method_comparison import Comparison, Separation
from caa_core.vectors.methods import MEAN_DIFFERENCE

Run = Mapping[str, Any]

SINGLE = "single"
# Cosines from which two directions are called mostly the same, and below which they have little to do with each other.
MOSTLY, LITTLE = 0.8, 0.3
# Words in a row that stood there before.
IN_A_ROW = 4
SCALE = "D is 1 for A, -1 for B."


@dataclass(frozen=True)
class Reading:
    """outcome: one of the check's; empty where the run does not tell. said: by which numbers, or why it does not."""

    outcome: str
    said: str


@dataclass(frozen=True)
class Check:
    """How a run is made and read.

    experiment: its name, under which the run is kept. tabs: ids of those to open. place, press: what the person sees of
    both. outcomes: what can come out, in words. settings: what a step may fill in. same: those of them that a run has
    to have as the step says, so that it counts.
    """

    experiment: str
    tabs: tuple[str, ...]
    place: str
    press: str
    outcomes: Mapping[str, str]
    settings: tuple[str, ...]
    same: tuple[str, ...]
    read: Callable[[Run], Reading]

    def reading(self, run: Run) -> Reading:
        """What a run says; that it cannot be read, where it is not as a run is kept."""
        try:
            return self.read(run)
        except (InputError, KeyError, IndexError, TypeError, ValueError, AttributeError, ZeroDivisionError):
            return Reading("", "This run cannot be read here; run it again.")

    def differs(self, run: Run, settings: Mapping[str, Any]) -> list[str]:
        """Which of the settings that count a run was not made with."""
        asked = run.get("asked") or {}
        return [name for name in self.same if name in settings and asked.get(name) != settings[name]]


def lens(run: Run) -> Reading:
    """After which layer the unsteered stream reads as the final token and does so to the end."""
    tokens = [token.strip() for token in run["lens"]["tokens"][0]]
    final, first = tokens[-1], len(tokens) - 1
    while first and tokens[first - 1] == final:
        first -= 1
    third = ("first", "middle", "last")[3 * first // len(tokens)]
    return Reading(
        third, f"Unsteered, the last token “{final}” leads from layer {first} on, of 0 to {len(tokens) - 1}."
    )


def one_pair(run: Run) -> Reading:
    """How far the difference of one pair points along the mean over all."""
    (line,) = (line for *pair, line in run["cosines"] if {*pair} == {MEAN_DIFFERENCE, SINGLE})
    middle = median(line)
    outcome = "mostly" if middle >= MOSTLY else "partly" if middle >= LITTLE else "hardly"
    spread = f"{min(line):.2f} to {max(line):.2f} over {len(line)} layers"
    said = (
        f"Cosine of one pair's difference to the mean over {run['num_pairs']} pairs: {middle:.2f} (median; {spread})."
    )
    return Reading(outcome, said)


def mean_or_one(run: Run) -> Reading:
    """Which tells held-out answers apart better, by the paired difference of both over all layers."""
    lines = {name: [Separation(**one) for one in run["separations"][name]] for name in (MEAN_DIFFERENCE, SINGLE)}
    about = (run["dataset"], run["num_pairs"], run["folds"], run["read_position"], tuple(run["layers"]))
    found = Comparison(*about, {}, lines)
    mean, one = found.means[MEAN_DIFFERENCE], found.means[SINGLE]
    said = (
        f"Held-out answers told apart (AUC, mean over layers; 0.5 is chance): all pairs {mean:.2f}, one pair {one:.2f}"
    )
    if few := too_few(found.prompts):
        return Reading("", f"{said}. Not judged: {few}.")
    p = found.differences()[MEAN_DIFFERENCE, SINGLE]
    outcome = "same" if p > LEVEL else "mean" if mean > one else "one"
    return Reading(outcome, f"{said}; p = {p:.2g} for the difference.")


def answers(run: Run) -> Reading:
    """What became of the last answer of a chat."""
    plain, steered = run["exchanges"][-1]["answers"][:2]
    if plain == steered:
        return Reading("equal", "Both columns say the same, letter by letter.")
    before, after = repeated(plain), repeated(steered)
    outcome = "repeats" if after >= REPEATS and after > before else "changed"
    return Reading(outcome, f"Runs of four words that were there before: {after:.0%} steered, {before:.0%} unsteered.")


def repeated(text: str) -> float:
    """The share of a text's runs of four words that stood in it before."""
    words = text.split()
    runs = [tuple(words[i : i + IN_A_ROW]) for i in range(len(words) - IN_A_ROW + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def price(run: Run) -> Reading:
    """What twice the multiplier does to the effect and to its cost, at the layer that Measure proposes: by the change
    there less the smaller one's, times what the cost is multiplied with, which has an interval and no quotient.
    """
    found = run["found"]
    cells = {(cell["layer"], cell["multiplier"]): cell for cell in found["cells"]}
    once = min((m for _, m in cells if m > 0 and any(other == 2 * m for _, other in cells)), default=None)
    if once is None:
        return Reading("", "This run has no multiplier together with its double: try 1 and 2.")
    if not found["best"]:
        return Reading("", "No layer is proposed yet: run it to its end.")
    layer, by_item = found["best"]["layer"], ByItem.kept_in(found)
    steered = [by_item.at(layer, m) if by_item else None for m in (once, 2 * once)]
    if not by_item or None in steered:
        return Reading("", "The items of these cells were not kept one by one: measure fewer layers.")
    prompts = [item.prompt for item in by_item.items]
    if few := too_few(len(set(prompts))):
        return Reading("", f"Not judged: {few}.")
    one, two = (np.array(values, float) - np.array(by_item.unsteered) for values in steered)
    cost, more = (cells[layer, m]["kl"] for m in (once, 2 * once))
    dearer = more / cost
    beyond = mean_of(float(np.sign(one.mean())) * (two - dearer * one), prompts)
    outcome = "alike" if not beyond.is_clear else "effect" if beyond.value > 0 else "cost"
    return Reading(
        outcome,
        f"Layer {layer}, × {once:g} and × {2 * once:g}: change {one.mean():+.2f} and {two.mean():+.2f}, cost "
        f"{cost:.2f} and {more:.2f} nats (× {dearer:.1f}). Beside {dearer:.1f} times the first change, the second is "
        f"{beyond.value:+.2f} off (95% interval {beyond.ends()}).",
    )


def verdict(run: Run) -> Reading:
    """Whether a vector has an effect, by the verdict of Measure."""
    found = run["found"]["verdict"]
    grade = found.get("grade")
    if grade not in (EFFECT, UNDECIDED, NONE_SHOWN):
        return Reading("", f"{found['text'].splitlines()[0]}")
    outcome = {UNDECIDED: "undecided", NONE_SHOWN: "none"}.get(grade) or found["direction"]
    if found.get("estimate") is None or not found.get("random") or not found.get("shuffled"):
        return Reading(outcome, f"{found['prompts']} prompts.")
    beside = [f"{low:+.3f} to {high:+.3f}" for low, high in (found["random"], found["shuffled"])]
    return Reading(
        outcome,
        f"To first order the vector does {found['estimate']:+.3f}; 95% of {found['controls']} random vectors do "
        f"{beside[0]}, from shuffled labels {beside[1]}: p = {found['p']:.2g}, {found['prompts']} prompts.",
    )


def contest(run: Run) -> Reading:
    """Which of two voices is followed."""
    found = Contest.of(dict(run))
    if few := too_few(found.prompts):
        return Reading("", f"Not judged: {few}.")
    deltas = f"{found.a} alone {found.delta_a.value:+.2f}, {found.b} alone {found.delta_b.value:+.2f}"
    said = f"Change towards {found.a}: {deltas}, both {found.delta_ab.value:+.2f} nats a token."
    if found.contest and found.dominance and found.additive is not None:
        said += f" D = {found.dominance.value:.2f} where adding predicts {found.additive:.2f}. {SCALE}"
    return Reading({1: "a", -1: "b", 0: "neither"}[found.leads] if found.contest else "none", said)


def thinking(run: Run) -> Reading:
    """Whether a thought changes which voice is followed."""
    arms = {arm["arm"]: arm for arm in run["arms"]}
    if few := too_few(run["thinking"]["prompts"]):
        return Reading("", f"Not judged: {few}.")
    if not {"direct", "steered", "filler"} <= arms.keys():
        return Reading("", "The run was stopped before all arms were known: run it to its end.")
    before, after = arms["direct"], arms["steered"]
    if before["dominance"] is None:
        return Reading("none", "Without a thought there is no contest, so there is nothing to settle.")
    if after["dominance"] is None or after["change"] is None:
        return Reading("none", f"D = {before['dominance']:.2f} without a thought; with one no contest is shown.")
    low, high, p = after["change_low"], after["change_high"], after["change_p"]
    told = None not in (low, high, p) and low * high > 0 and p <= LEVEL
    spread = "" if None in (low, high) else f" ({low:+.2f} to {high:+.2f})"
    said = f"D = {before['dominance']:.2f} without a thought, {after['dominance']:.2f} with one: "
    return Reading("moves" if told else "stays", f"{said}a change of {after['change']:+.2f}{spread}. {SCALE}")


WRITING = ("system", "positions", "max_new_tokens", "temperature", "seed")
VOICES = (
    "vector_a",
    "layer_a",
    "multiplier_a",
    "vector_b",
    "layer_b",
    "multiplier_b",
    "kind",
    "told",
    "begins",
    "apart",
)
COMPARING = ("layers", "limit", "read", "letter_swap")
MEASURING = (
    "vector",
    "preset",
    "questions",
    "layers",
    "multipliers",
    "controls",
    "limit",
    "counts",
    "positions",
    "cue",
)
CONTESTING = (*VOICES, "contest", "system", "positions")
OF_BOTH = ("vector_a", "vector_b", "kind", "contest")

CHECKS: dict[str, Check] = {
    "lens": Check(
        "views",
        ("views",),
        "Look inside",
        "Look inside",
        {"first": "In the first third", "middle": "In the middle third", "last": "In the last third"},
        ("vector", "layer", "multiplier", "positions", "how", "text"),
        (),
        lens,
    ),
    "one-pair": Check(
        "generate-compare",
        ("generate",),
        "Generate vectors",
        "Compare methods",
        {"mostly": "Mostly the same way", "partly": "Partly the same way", "hardly": "Hardly the same way"},
        COMPARING,
        (),
        one_pair,
    ),
    "mean-or-one": Check(
        "generate-compare",
        ("generate",),
        "Generate vectors",
        "Compare methods",
        {"mean": "The mean does better", "one": "One pair does better", "same": "No difference is shown"},
        COMPARING,
        (),
        mean_or_one,
    ),
    "answers": Check(
        "steer",
        ("steer",),
        "Steer",
        "Write",
        {"equal": "The same words", "changed": "Other words", "repeats": "Other words, and they repeat themselves"},
        ("vector", "layer", "multiplier", "question", *WRITING),
        ("vector",),
        answers,
    ),
    "price": Check(
        "measure",
        ("measure", "measure-layers-tab"),
        "Measure",
        "Measure",
        {"cost": "The cost grows more", "alike": "No difference is shown", "effect": "The effect grows more"},
        MEASURING,
        ("vector", "preset", "questions"),
        price,
    ),
    "verdict": Check(
        "measure",
        ("measure", "measure-layers-tab"),
        "Measure",
        "Measure",
        {
            "with": "An effect, with the vector",
            "against": "An effect, backwards",
            "undecided": "Not decided",
            "none": "No effect is shown",
        },
        MEASURING,
        ("vector", "preset", "questions"),
        verdict,
    ),
    "contest": Check(
        "compete-verdict",
        ("compete",),
        "Compete",
        "Measure",
        {
            "a": "Voice A is followed",
            "b": "Voice B is followed",
            "neither": "A contest, and neither is shown to be followed",
            "none": "No contest is shown",
        },
        (*CONTESTING, "second_voices"),
        OF_BOTH,
        contest,
    ),
    "thinking": Check(
        "compete-reasoning",
        ("compete",),
        "Compete",
        "Think",
        {
            "moves": "Thinking changes who is followed, or how far",
            "stays": "No change by thinking is shown",
            "none": "No contest is shown",
        },
        (*CONTESTING, "prompts", "thoughts", "tokens", "seed"),
        OF_BOTH,
        thinking,
    ),
}
