"""The arms, measured again by hand: one text at a time, with plain hooks at the tokens that an arm says it steers."""

import json

import numpy as np
import pytest
import torch

import caa_core as caa
from caa_core.cli.main import main
from caa_core.contest.requests import ContestRequest, ThinkingRequest
from caa_core.contest.runs import run_thinking
from caa_core.contest.self_report import SelfReport
from caa_core.contest.thinking import think
from caa_core.contest.thinking_arms import ARMS, ArmPlan
from caa_core.contest.thinking_results import ThinkingSummary
from caa_core.contest.thinking_scores import ThinkingScores
from caa_core.contest.thoughts import thinking_prompt, write_thoughts
from caa_core.contest.voice import Voice
from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.errors import InputError
from caa_core.metrics.correction import paired_p
from caa_core.metrics.estimates import Estimate, mean_of
from caa_core.metrics.items import choose_items
from caa_core.model.prompts import after_thought
from caa_core.progress import finish
from caa_core.steering.interventions import Positions, Steer
from caa_core.steering.operations import Operation
from caa_core.vectors.vector import Provenance, SteeringVector
from tests.helpers.contests import PROMPTS, asked_of, plant
from tests.helpers.models import make_tiny
from tests.helpers.reference import changes_by, steered_logits
from tests.helpers.thinking import make_thinking
from tests.helpers.vectors import random_vector

SMALL = ThinkingRequest(thoughts=2, tokens=5)
# What is likeliest stays so under a push that moves two letters alone: everybody writes the same words.
GREEDY = ThinkingRequest(thoughts=1, tokens=5, temperature=0)
X = ("nobody", "a", "b", "both")

# Of each arm: whose words (X's, nobody's, as many dots, or none), and which tokens are steered, where the prompt ends
# before token p and the words before token w.
BY_HAND = {
    "direct": ("none", lambda i, p, w: i >= p - 1),
    "steered": ("X", lambda i, p, w: i >= p - 1),
    "thinking only": ("X", lambda i, p, w: p - 1 <= i < w),
    "answer only": ("nobody", lambda i, p, w: i >= w),
    "words alone": ("X", lambda i, p, w: False),
    "reread": ("nobody", lambda i, p, w: i >= p - 1),
    "filler": ("dots", lambda i, p, w: i >= p - 1),
}


def items_of(model, answers=("x", "y"), prompts=PROMPTS):
    pairs = tuple(ContrastPair(prompt, *answers, i) for i, prompt in enumerate(prompts))
    return finish(choose_items(model, Dataset("planted", "", "", pairs)))


def plain_m(model, pair, words, steers, covers):
    """m behind words, a token of an answer at a time."""
    head = thinking_prompt(model, pair.prompt)
    p, w = len(head.ids), len(head.ids) + len(words)
    sides = []
    for answer in (pair.positive, pair.negative):
        ids, start = (whole := after_thought(model.tokenizer, head, words, answer)).ids, whole.start
        logp = []
        for end in range(start, len(ids)):
            steered = [i for i in range(end) if covers(i, p, w)]
            logp.append(steered_logits(model, ids[:end], changes_by(steers), steered).log_softmax(-1)[ids[end]].item())
        sides.append(sum(logp) / len(logp))
    return sides[0] - sides[1]


# By model: at which layers A and B are, and what is done with their vectors there.
PLAIN = (((1,), 6.0, "add"), ((2,), 6.0, "add"))
WAYS = {"llama": PLAIN, "gemma2": (((1, 3), 1.0, "ablate"), ((2,), 6.0, "keep-norm")), "thinking": PLAIN}


class Bench:
    """An experiment on a tiny model, and its thoughts once more."""

    def __init__(self, model, prompts, ways):
        self.model, self.items = model, items_of(model, prompts=prompts)
        a, b = (
            Voice(name, tuple(Steer(random_vector(model, i), i, m, Operation.parse(done)) for i in layers))
            for name, (layers, m, done) in zip("AB", ways, strict=True)
        )
        self.sides = [Voice("nobody"), a, b, a.beside(b)]
        self.found = finish(think(model, self.items, a, b, SMALL))
        questions = {prompt: i for i, prompt in enumerate(prompts)}
        self.thoughts = finish(write_thoughts(model, questions, self.sides, SMALL))

    def m(self, words_of, steered_by, covers, dots=False):
        """Mean m over prompts and thoughts, by hand."""
        dot = self.model.tokenizer(".", add_special_tokens=False).input_ids[-1]
        found = []
        for pair in self.items.pairs:
            for number in range(SMALL.thoughts):
                words = () if words_of is None else self.thoughts[pair.prompt, number, words_of]
                words = (dot,) * len(words) if dots else words
                found.append(plain_m(self.model, pair, words, self.sides[steered_by].steers, covers))
        return sum(found) / len(found)


@pytest.fixture(scope="module", params=WAYS)
def bench(request, tiny_models):
    name = request.param
    return Bench(make_thinking() if name == "thinking" else tiny_models[name], PROMPTS[:2], WAYS[name])


@pytest.mark.parametrize("name", BY_HAND)
def test_what_is_steered_in_which_arm(bench, name):
    words, covers = BY_HAND[name]
    writer = {"none": lambda x: None, "nobody": lambda x: 0}.get(words, lambda x: x)
    m = [bench.m(writer(x), x, covers, words == "dots") for x in range(4)]
    arm = bench.found.arms[name]
    for x, delta in enumerate((arm.delta_a, arm.delta_b, arm.delta_ab), 1):
        assert delta.value == pytest.approx(m[x] - m[0], abs=2e-4)


def test_the_arms_differ(bench):
    """So that the test above could fail."""
    changes = [round(bench.found.arms[name].delta_ab.value, 3) for name in BY_HAND]
    assert len(set(changes)) == len(changes)


def test_crossed(bench):
    """A's words before B's answer, and the reverse; nobody's voice reads the words."""
    answer = BY_HAND["answer only"][1]
    ab, ba, aa, bb = (bench.m(words, by, answer) for words, by in ((1, 2), (2, 1), (1, 1), (2, 2)))
    crossed = bench.found.arms["crossed"]
    assert crossed.dominance is None and crossed.thoughts == 8
    if crossed.w:
        assert crossed.w.value == pytest.approx((ab - ba) / (aa - bb), abs=2e-3)


@pytest.fixture(scope="module")
def planted():
    """At the last layer, directions that move the answers alone: what is cached of words does not know of them."""
    model = make_tiny("llama")
    letters = [x for x in "abcdefghijklmnopqrstuvwxyz" if len(model.tokenizer(f" {x}").input_ids) == 1][:2]
    items = items_of(model, letters)
    head = model.module.get_output_embeddings().weight
    x, y = (model.tokenizer(f" {letter}", add_special_tokens=False).input_ids[0] for letter in letters)
    toward = torch.nn.functional.normalize((head[x] - head[y]).detach(), dim=0)
    with torch.no_grad():  # no other token is likelier for it
        answers = head[[x, y]]
        head -= (head @ toward)[:, None] * toward
        head[[x, y]] = answers
    a, b = (Voice(name, (Steer(times * toward, 3, 0.15),)) for name, times in (("A", 3.0), ("B", -1.0)))
    return model, items, a, b


def test_a_voice_that_moves_answers_alone(planted):
    """Planted: D = 0.5 wherever the answer is steered, and nothing where it is not: vectors decide, not words."""
    model, items, a, b = planted
    found = finish(think(model, items, a, b, GREEDY))
    for name in ("direct", "steered", "answer only", "reread", "filler"):
        assert found.arms[name].dominance.value == pytest.approx(0.5, abs=0.02)
        assert found.arms[name].additive == pytest.approx(0.5, abs=0.02) and found.arms[name].kl >= 0
        assert found.arms[name].wrong_a.value == found.arms[name].wrong_b.value == 0
    for name in ("thinking only", "words alone"):
        arm = found.arms[name]
        assert arm.dominance is None and arm.change is None and arm.disagreements == 0
        assert arm.delta_ab.value == pytest.approx(0, abs=1e-6)
        assert arm.verdict.startswith("No contest: neither A nor B is shown to move the answers its own way.")
        assert (arm.wrong_a, arm.wrong_b) == (None, None)  # none moves
    assert found.arms["crossed"].w.value == pytest.approx(-1, abs=0.02)
    assert found.arms["crossed"].verdict.startswith("The vectors decide more: W = -1.00")
    assert found.arms["direct"].verdict.startswith("The model follows A: D = +0.5")
    assert "no change against direct is shown" in found.arms["answer only"].verdict
    assert abs(found.arms["answer only"].change.value) < 0.02 and found.arms["answer only"].change_p > 0.05
    assert found.verdict.startswith("No change by thinking is shown (") and "What can be excluded is" in found.verdict
    assert found.arms["steered"].thoughts == len(PROMPTS) and found.arms["direct"].thoughts == 0


class Known(ThinkingScores):
    """Scores of an experiment of which all is known: of every arm and X its m by prompt, and of the crossings."""

    def __init__(self, plan, arms, crossed):
        super().__init__(plan)
        self.arms, self.crossed = arms, crossed

    def has(self, arm):
        return arm in self.arms or arm == "crossed"

    def of(self, arm):
        return np.stack([self.arms[arm.name], np.zeros_like(self.arms[arm.name])])

    def by_item(self, cells):
        return np.stack([self.crossed.pop(0)] * 2)

    def m(self, cells):
        return [0.0]


def test_what_is_said_of_an_arm_is_corrected_for_the_others(planted):
    """One of six changes leaves 0 out with its interval, as chance would have it: it is not said, also while that arm
    is the only one that is known."""
    model, items, a, b = planted
    spread = np.array([-1.4, -1, -0.5, -0.2, 0.2, 0.5, 1, 1.4])
    moved = {"direct": 0.3 * spread[::-1], "reread": 0.3 * spread + 0.6}
    arms = {
        arm.name: np.stack([0 * spread, 1 + 0.1 * spread, -1 - 0.1 * spread, moved.get(arm.name, 0.2 * spread)])
        for arm in ARMS
    }
    plan = ArmPlan((items.pairs[0],), (0,), ("",) * 4, 1, 0, {(items.pairs[0].prompt, 0, x): (1,) for x in range(4)})
    for known in ([*arms], ["direct", "reread"]):
        crossed = [0.4 * spread, 0.3 * spread - 0.35, 1 + 0.1 * spread, -1 - 0.1 * spread]
        summary = ThinkingSummary(model, items, a, b, SMALL, plan)
        found = summary.result(Known(plan, {name: arms[name] for name in known}, crossed)).arms
        assert found["reread"].change.is_clear and found["reread"].change_p > 0.05
        assert "no change against direct is shown" in found["reread"].verdict
    assert found["crossed"].verdict.startswith("The words decide more: W = ")  # as sure as can be
    # As sure by p alone, and its interval holds 0: one prompt goes far the other way.
    lean = np.array([0.8, 0.85, 0.9, 0.95, 1, 1.05, 1.1, -0.4])
    known = Known(plan, arms, [lean, 0 * lean, 1 + 0.1 * spread, -1 - 0.1 * spread])
    crossed = ThinkingSummary(model, items, a, b, SMALL, plan).result(known).arms["crossed"]
    assert paired_p(lean[None])[0] < 0.05 / 8 and not mean_of(lean).is_clear
    assert crossed.verdict.startswith("Neither words nor vectors can be said to decide: W = ")


def test_who_speaks_and_who_is_ahead_are_corrected_for_all_arms(planted):
    """In one arm A is ahead, and in one B speaks, by intervals and p of their own, and not among all arms."""
    model, items, a, b = planted
    spread, moved = np.linspace(-0.4, 0.4, 8), 0.26 + np.linspace(-0.4, 0.4, 8)
    strong = 1 + 0.1 * spread
    arms = {arm.name: np.stack([0 * spread, spread, -spread, spread]) for arm in ARMS}
    arms["filler"], arms["reread"] = np.array(
        [[0 * spread, strong, b, both] for b, both in ((-strong, moved), (-moved, spread))]
    )
    plan = ArmPlan((items.pairs[0],), (0,), ("",) * 4, 1, 0, {(items.pairs[0].prompt, 0, x): (1,) for x in range(4)})
    crossed = [spread, -spread, 1 + spread, -1 - spread]
    found = ThinkingSummary(model, items, a, b, SMALL, plan).result(Known(plan, arms, crossed)).arms
    assert 0.025 < paired_p(moved[None])[0] <= 0.05 and mean_of(moved).is_clear
    assert found["filler"].followed == "neither" and found["filler"].dominance.is_clear
    assert found["reread"].verdict.startswith("No contest: only A is shown to move the answers its own way.")


@pytest.mark.parametrize(
    ("probability", "prompts", "names"),
    [
        ((0.7, 0.6, 0.8), 8, 1),
        ((0.3, 0.2, 0.4), 8, -1),
        ((0.7, 0.45, 0.9), 8, 0),
        ((0.515, 0.51, 0.52), 8, 0),  # next to nothing
        ((0.7, 0.6, 0.8), 7, 0),
    ],
)
def test_a_model_names_a_voice_where_its_probability_is_told_from_one_half(probability, prompts, names):
    found = Estimate(*probability)
    assert SelfReport(found, found, 1.0, prompts, 0, 0, 0, "").names == names


def test_thoughts_are_kept_beside_the_numbers(planted):
    model, items, a, b = planted
    found = finish(think(model, items, a, b, SMALL))
    assert len(found.thoughts) == len(PROMPTS) * 2 * 4
    under_both = [thought for thought in found.thoughts if thought["under"] == "both"]
    assert sum(thought["disagrees"] for thought in under_both) == found.arms["steered"].disagreements
    assert all(thought["disagrees"] == (thought["m"] * thought["m_alone"] < 0) for thought in found.thoughts)
    assert found.told.prompts == len(PROMPTS) >= found.told.agree and 0 <= found.told.probability.value <= 1


def test_a_prompts_letter_orders_move_together(tiny_llama):
    """Both orders of a question are asked, and count as one prompt."""
    question = "Rain?\n\nChoices:\n (A) Yes\n (B) No"
    pairs = tuple(ContrastPair(f"{prompt} {question}", "(A)", "(B)", i) for i, prompt in enumerate(PROMPTS[:4]))
    items = finish(choose_items(tiny_llama, Dataset("letters", "", "", pairs)))
    a, b = (Voice(name, (Steer(random_vector(tiny_llama, i), 1, 1.0),)) for i, name in enumerate("AB"))
    found = finish(think(tiny_llama, items, a, b, ThinkingRequest(prompts=3, thoughts=1, tokens=3)))
    assert found.prompts == found.items == 3 and len(found.thoughts) == 3 * 2 * 4
    assert found.arms["steered"].thoughts == 6
    assert found.verdict == "3 prompts are too few for a verdict, which takes at least 8."


def test_a_voice_that_is_told_cannot_be_taken_from_its_words(tiny_llama):
    told, added = Voice("told", system="Say x."), Voice("added", (Steer(random_vector(tiny_llama), 1, 1.0),))
    found = finish(think(tiny_llama, items_of(tiny_llama), told, added, ThinkingRequest(thoughts=1, tokens=4)))
    assert list(found.arms) == ["direct", "steered", "words alone", "reread", "filler"]
    assert "stands before its words" in found.note and found.arms["steered"].kl is None
    json.dumps(found.summary(), allow_nan=False)


def test_a_program_says_what_is_done_with_each_vector_and_at_which_layers(tiny_llama):
    layers = {layer: random_vector(tiny_llama, layer) for layer in range(4)}
    vector = SteeringVector("v", layers, dict.fromkeys(layers, 5.0), Provenance())
    few = {"prompts": 1, "thoughts": 1, "tokens": 2}
    how = {"operation_a": "keep-norm", "operation_b": "ablate", "shares": "whole"}
    pairs = Dataset("p", "", "", items_of(tiny_llama).pairs)
    found = caa.think(tiny_llama, (vector, "1-2", 2.0), (vector, 3, 1.0), pairs, **few, **how)["settings"]
    assert found["a"]["added"] == [{"layer": n, "multiplier": 2.0, "operation": "keep-norm"} for n in (1, 2)]
    assert found["b"]["added"] == [{"layer": 3, "multiplier": 1.0, "operation": "ablate"}]


def test_what_divides_no_answer_is_refused(tiny_llama):
    items = items_of(tiny_llama)
    nobody, begun = Voice("nobody"), Voice("begun", prefill="I think")
    with pytest.raises(InputError, match="beginning of an answer"):
        finish(think(tiny_llama, items, begun, nobody, SMALL))
    everywhere = finish(choose_items(tiny_llama, Dataset("p", "", "", items.pairs), Positions("all")))
    with pytest.raises(InputError, match="after-prompt"):
        finish(think(tiny_llama, everywhere, nobody, nobody, SMALL))


def test_what_has_come_can_be_seen_before_the_end(planted):
    model, items, a, b = planted
    known = [
        event for event in think(model, items, a, b, ThinkingRequest(thoughts=1, tokens=3)) if hasattr(event, "arms")
    ]
    assert len(known[0].thoughts) == 4 * len(PROMPTS) and not known[0].arms and known[0].thoughts[0]["m"] is None
    assert known[1].arms or known[2].arms
    assert "crossed" in known[-1].arms


def test_what_is_known_is_not_computed_again(planted):
    model, items, a, b = planted
    b = Voice("<b>B</b>", b.steers)
    request, known = ContestRequest(data=Dataset("planted", "", "", items.pairs)), {}
    found = finish(run_thinking(model, request, a, b, GREEDY, known))
    assert finish(run_thinking(model, request, a, b, GREEDY, known), pytest.fail) is found
    assert finish(run_thinking(model, request, a, b, ThinkingRequest(thoughts=1, tokens=2), known)) is not found
    assert found["thinking"]["budget"]["tokens"] == 5 and len(found["arms"]) == 8
    contests = {arm["arm"] for arm in found["arms"] if arm["dominance"] is not None}
    assert contests == {"direct", "steered", "answer only", "reread", "filler"}


def test_a_contest_with_thoughts_on_the_command_line(tmp_path, capsys):
    out = tmp_path / "contest.json"
    asked = [*asked_of(plant(), tmp_path, PROMPTS[:4]), "--no-controls", "--json", "--out", str(out)]
    assert main([*asked, "--cot", "--prompts", "4", "--samples", "1", "--thought-tokens", "6"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(out.read_text())
    names = ["direct", "steered", "thinking only", "answer only", "words alone", "reread", "filler", "crossed"]
    assert [arm["arm"] for arm in found["arms"]] == names
    direct = found["arms"][0]
    assert direct["delta_b_high"] < 0 and direct["change"] is None
    assert direct["dominance"] is not None and "4 prompts are too few for a verdict" in direct["verdict"]
    assert len(found["thinking"]["thoughts"]) == 16 and found["thinking"]["told"]["prompts"] == 4
