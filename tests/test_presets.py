import json
import re
from collections import Counter

import pytest

from caa_core.presets import find_pairs, presets


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
