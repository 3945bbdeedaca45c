import json
import re
from collections import Counter
from dataclasses import replace

import pytest
import torch

from caa_core.data.presets import behaviour_of, find_pairs, find_table, find_test_pairs, pairs_behind, presets
from caa_core.errors import InputError
from caa_core.measuring.costs.gauge import BREAKS, GOOD, MULTIPLIERS, STRONG, Gauge
from caa_core.measuring.effect import Effect
from caa_core.progress import finish
from caa_core.steering.interventions import Steer
from caa_core.steering.scoring import score
from caa_core.vectors.extraction import extract
from caa_core.vectors.known_directions import LETTER_FILE, letter_pairs, make
from caa_core.vectors.vector import Provenance, load_vector
from tests.helpers.sizes import FULL


def words(text):
    return re.findall(r"[\w']+", text.lower())


def runs(text):
    """All runs of five words."""
    found = words(text)
    return {tuple(found[i : i + 5]) for i in range(len(found) - 4)}


PRESETS = sorted(presets())


def test_the_promised_presets_are_there():
    assert {"joy", "gloom", "formal", "casual", "refusal"} <= set(PRESETS)
    for preset in presets().values():
        assert presets()[preset.opposes].opposes == preset.name


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_written_not_filled_in(name):
    preset = presets()[name]
    parts = {part: json.loads((preset.folder / f"{part}.json").read_text()) for part in ("pairs", "test", "contest")}
    assert len(find_pairs(name).pairs) >= 40
    prompts = [" ".join(words(item["prompt"])) for items in parts.values() for item in items]
    assert len(prompts) == len(set(prompts))
    where, answers = {}, 0
    for part, items in parts.items():
        for item in items:
            for field in item.keys() - {"prompt"}:
                answers += 1
                for run in runs(item[field]):
                    where.setdefault(run, Counter())[part] += 1
    assert not [run for run, count in where.items() if len(count) > 1], "five words in a row in two parts"
    assert not [run for run, count in where.items() if count.total() > answers / 10], "five words too often"


@pytest.mark.parametrize("name", PRESETS)
def test_positive_and_negative_answers_are_about_as_long(name):
    """Else the vector would carry length."""
    pairs = find_pairs(name).pairs
    ratio = sum(len(p.positive) for p in pairs) / sum(len(p.negative) for p in pairs)
    assert 0.8 < ratio < 1.25


@pytest.mark.parametrize("name", PRESETS)
def test_a_behaviour_is_asked_for_in_three_wordings(name):
    wordings = presets()[name].wordings
    assert len({" ".join(words(told)) for told in wordings}) == 3 and wordings[0] == presets()[name].told
    assert not set.intersection(*(runs(told) for told in wordings))


@pytest.mark.parametrize("name", PRESETS)
def test_held_out_prompts_are_kept_in_other_words(name):
    test, reworded = presets()[name].test(), presets()[name].reworded()
    for one, other in zip(test.pairs, reworded.pairs, strict=True):
        assert one == replace(other, prompt=one.prompt)
        assert not runs(one.prompt) & runs(other.prompt) and set(words(one.prompt)) != set(words(other.prompt))
    prompts = {pair.prompt for part in (presets()[name].dataset(), test) for pair in part.pairs}
    assert len({pair.prompt for pair in reworded.pairs} - prompts) == len(test.pairs)


def test_data_are_of_the_preset_whose_they_are():
    for data in (find_pairs("joy:ab").first(2), find_test_pairs("joy")):
        assert behaviour_of(data.sha256).name == "joy"
    assert behaviour_of("0" * 64) is None


@pytest.mark.parametrize("name", PRESETS)
def test_the_ready_vector_equals_a_fresh_extraction(embedded, name):
    preset = presets()[name]
    ready = load_vector(preset.vector_file)
    assert (ready.name, len(ready.layers)) == (name, embedded.num_layers)
    assert ready.provenance.dataset_sha256 == preset.dataset().sha256
    assert not ready.differences(embedded)
    layers = [1] if not FULL else None if name == "joy" else [3, preset.layer]
    fresh = finish(make(embedded, preset.dataset(), layers, name))
    for layer, direction in fresh.layers.items():
        assert torch.cosine_similarity(ready.at(layer), direction, dim=0) > 0.99999
        assert ready.norm(layer) == pytest.approx(direction.norm().item(), rel=1e-3)
        assert ready.residual_norms[layer] == pytest.approx(fresh.residual_norms[layer], rel=1e-3)
    assert fresh.provenance == ready.provenance
    assert ready.diagnostics.grade == "may steer" and set(ready.diagnostics.overlap) == {"refusal", "letter"}
    for layer, one in fresh.diagnostics.layers.items():
        assert one.reliability.value == pytest.approx(ready.diagnostics.layers[layer].reliability.value, abs=1e-3)
        for along, by_layer in fresh.diagnostics.overlap.items():
            assert by_layer[layer].value == pytest.approx(ready.diagnostics.overlap[along][layer].value, abs=1e-3)


def test_the_ready_letter_direction_equals_a_fresh_one(embedded):
    ready = load_vector(LETTER_FILE)
    assert not ready.differences(embedded) and len(ready.layers) == embedded.num_layers
    fresh = finish(extract(embedded, letter_pairs(), [3, 20]))
    for layer, direction in fresh.layers.items():
        assert torch.cosine_similarity(ready.at(layer), direction, dim=0) > 0.99999


@pytest.mark.parametrize("name", PRESETS)
def test_a_card_says_what_was_measured_on_held_out_prompts(name):
    preset = presets()[name]
    found = Effect.of(preset.measured)
    assert (found.layer, found.multiplier, found.items) == (preset.layer, preset.multiplier, len(preset.test().pairs))
    assert found.effect.low <= found.effect.value <= found.effect.high
    assert found.random_vectors == 999 and 0 <= found.beaten <= 999
    assert found.effect.low > 0
    fallen = {"french": "not decided", "german": "not decided", "hedging": "none shown"}
    assert found.grade == fallen.get(name, "effect") and (found.p <= 0.05) is (name not in fallen)
    assert found.kl > 0 and 0 <= found.repetition <= 1
    wrong = found.anti_steerable
    assert wrong.prompts + wrong.unchanged == found.items and wrong.random and wrong.shuffled
    assert wrong.share.low <= wrong.share.value <= wrong.share.high < 0.5, "more than a vector that does nothing"
    assert found.wrong_way.startswith(f"Pushed the wrong way: {wrong.share.value:.0%} of the prompts (")


LOOKED_AT = [name for name in PRESETS if presets()[name].doses]


def test_cards_say_what_multipliers_cost_and_what_layers_do():
    assert {"joy", "french"} <= {*LOOKED_AT} == {name for name in PRESETS if presets()[name].by_layer}
    for preset in map(presets().get, LOOKED_AT):
        gauge = Gauge.of(preset.doses)
        assert [dose.multiplier for dose in gauge.doses] == [*MULTIPLIERS] and len(preset.by_layer) == 30
        assert all(0 < dose.kl < dose.high and 0 <= dose.repetition <= 1 for dose in gauge.doses)
        # What the card recommends does something.
        assert gauge.word(preset.multiplier) in (GOOD, STRONG, BREAKS) and gauge.word(2 * preset.multiplier)
    assert Gauge.of(presets()["joy"].doses).breaking([-4.0, 4.0]) == [-4.0, 4.0]


@pytest.mark.parametrize("name", PRESETS if FULL else ["joy"])
def test_the_numbers_of_a_card_come_out_again(embedded, name):
    preset = presets()[name]
    direction, step = load_vector(preset.vector_file).at(preset.layer), 0.05
    doses = {dose["multiplier"]: dose for dose in preset.doses}
    # One run for both where a dose is of the multiplier that is recommended.
    dose = doses.get(preset.multiplier) or doses[1.0]
    of_card = list(dict.fromkeys((preset.multiplier, dose["multiplier"])))
    runs = [(Steer(direction, preset.layer, m),) for m in (*of_card, step, -step)]
    scores = finish(score(embedded, preset.test().pairs, runs))
    slope = (scores.preference[-2] - scores.preference[-1]).mean().item() / (2 * step)
    assert slope == pytest.approx(preset.by_layer[preset.layer], rel=0.1, abs=0.02)
    assert scores.kl[len(of_card)].mean().item() == pytest.approx(dose["kl"], rel=0.1)
    changes = scores.preference[1] - scores.preference[0]
    assert changes.mean().item() == pytest.approx(preset.measured["effect"], abs=0.05)
    wrong = Effect.of(preset.measured).anti_steerable
    assert (changes < 0).sum().item() == pytest.approx(wrong.share.value * wrong.prompts, abs=1)
    assert scores.kl[1].mean().item() == pytest.approx(preset.measured["kl"], rel=0.1)


def test_held_out_pairs_and_questions():
    joy = presets()["joy"]
    held_out = joy.test()
    assert held_out.name == "joy (held out)" and len(held_out.pairs) >= 5
    assert not set(held_out.pairs) & set(joy.dataset().pairs)
    assert find_pairs("joy:ab") == joy.dataset().as_questions()
    assert find_pairs("joy:ab").name == "joy (A/B questions)"


def test_a_table_is_found_as_the_pairs_are(tmp_path):
    (tmp_path / "mine.json").write_text(presets()["joy"].pairs_file.read_text())
    assert [len(find_table(data).records) for data in ("joy", "joy:ab", tmp_path / "mine.json")] == [
        len(find_pairs(data).pairs) for data in ("joy", "joy:ab", tmp_path / "mine.json")
    ]
    assert find_table("joy:ab").match_columns().positive == "answer_matching_behavior"


@pytest.mark.parametrize("find", [find_pairs, find_table])
def test_what_is_not_there(find):
    with pytest.raises(InputError, match="There is no 'joy:c'; the preset 'joy' has one other version, 'joy:ab'"):
        find("joy:c")
    with pytest.raises(InputError, match="sadness:ab cannot be read: No such file"):
        find("sadness:ab")


def test_a_presets_name_stands_for_its_held_out_pairs_in_a_test():
    joy = presets()["joy"]
    assert find_test_pairs("joy").pairs == joy.test().pairs
    assert find_test_pairs("joy:ab").is_lettered


CHOSEN = {
    "all": find_pairs("joy"),
    "the first": find_pairs("joy").first(4),
    "drawn": find_pairs("joy").first(5, seed=3),
    "questions": find_pairs("joy:ab"),
    "some questions": find_pairs("joy:ab").first(6),
    "both letter orders": find_pairs("joy:ab").in_both_letter_orders(),
    "some in both": find_pairs("joy:ab").first(7, seed=-2).in_both_letter_orders(),
}


@pytest.mark.parametrize("chosen", CHOSEN)
def test_the_pairs_behind_a_vector_are_the_very_ones(tiny_llama, chosen):
    dataset = CHOSEN[chosen]
    made_from = finish(extract(tiny_llama, dataset, [1])).provenance
    found = pairs_behind(made_from)
    assert (found.pairs, found.name) == (dataset.pairs, dataset.name)
    assert [pair.swapped_copy for pair in found.pairs] == [pair.swapped_copy for pair in dataset.pairs]
    before = replace(made_from, pairs_sha256="")
    assert pairs_behind(before).pairs == dataset.pairs, "as vectors said it before"
    assert pairs_behind(replace(before, num_pairs=99)) is None
    assert pairs_behind(replace(made_from, pairs_sha256="0" * 64)) is None


def test_pairs_that_were_changed_or_are_nobodys_are_not_found(tiny_llama):
    joy = find_pairs("joy").first(4)
    mended = replace(joy, pairs=(replace(joy.pairs[0], positive="Joy!"), *joy.pairs[1:]))
    for dataset in (mended, replace(joy, pairs=joy.pairs[::-1]), replace(joy, sha256="0" * 64)):
        assert pairs_behind(finish(extract(tiny_llama, dataset, [1])).provenance) is None
    assert pairs_behind(Provenance()) is None


def test_the_ready_vectors_are_made_from_all_pairs():
    for preset in presets().values():
        assert pairs_behind(load_vector(preset.vector_file).provenance).pairs == preset.dataset().pairs
