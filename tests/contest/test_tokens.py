import pytest
import torch

from caa_core.contest.tokens import TokenVoices, read_voices, run_tokens
from caa_core.contest.voice import Voice
from caa_core.errors import InputError
from caa_core.measuring.answer_reader import Direction
from caa_core.model.prompts import ask, render
from caa_core.progress import finish
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import side_by_side
from caa_core.steering.interventions import AFTER_PROMPT
from caa_core.vectors.vector import Provenance, SteeringVector
from tests.helpers.reference import residuals


@pytest.fixture
def asked(tiny_llama):
    torch.manual_seed(3)
    directions = [{1: torch.randn(32), 2: torch.randn(32)} for _ in "ab"]
    voices = [
        Direction(name, layers[layer], layer) for name, layers, layer in zip("ab", directions, (1, 2), strict=True)
    ]
    return tiny_llama, render(tiny_llama.tokenizer, [{"role": "user", "content": "How are you?"}]), voices


def test_each_token_has_the_projection_of_its_own_stream(asked):
    model, prompt, voices = asked
    found = finish(read_voices(model, prompt, "Fine, thanks.", "Well.", voices))
    assert "".join(found.tokens) == "Fine, thanks."
    ids, own = (
        (*prompt.ids, *model.tokenizer(text, add_special_tokens=False).input_ids) for text in ("Fine, thanks.", "Well.")
    )
    for voice, track in zip(voices, found.tracks, strict=True):
        unit = voice.vector / voice.vector.norm()
        stream, zero = ((residuals(model, text)[voice.layer][len(prompt.ids) :] @ unit) for text in (ids, own))
        assert track.values == pytest.approx((stream - zero.mean()).tolist(), abs=1e-4)
    assert found.lead == pytest.approx([a - b for a, b in zip(*(t.values for t in found.tracks), strict=True)])


def test_what_comes_later_does_not_change_what_was_read_before(asked):
    model, prompt, voices = asked
    short, long = (
        finish(read_voices(model, prompt, text, "Well.", voices)) for text in ("Fine, and", "Fine, and you?")
    )
    for a, b in zip(short.tracks, long.tracks, strict=True):
        assert a.values == pytest.approx(b.values[: len(a.values)], abs=1e-4)


def test_the_unsteered_answer_is_0_on_the_average(asked):
    model, prompt, voices = asked
    found = finish(read_voices(model, prompt, "Well, well.", "Well, well.", voices[:1]))
    assert sum(found.lead) == pytest.approx(0, abs=1e-3) and found.lead == found.tracks[0].values


def test_a_system_prompt_that_is_nobodys_is_said_in_every_answer(asked):
    model, _, (a, b) = asked
    vectors = [SteeringVector(one.name, {one.layer: one.vector}, {}, Provenance()) for one in (a, b)]
    voices = [Voice.of(vector, layer, 2.0) for vector, layer in zip(vectors, (1, 2), strict=True)]
    answers = finish(run_tokens(model, "Hi", *voices, system="Be brief."))["answers"]
    prompt = ask(model.tokenizer, "Hi", "Be brief.")
    written = finish(side_by_side(model, prompt, voices[0].steers + voices[1].steers, AFTER_PROMPT, Decoding()))
    assert (answers["unsteered"], answers["both"]) == (written.unsteered.text, written.steered.text)
    assert answers["unsteered"] != finish(run_tokens(model, "Hi", *voices))["answers"]["unsteered"]


def test_a_voice_at_several_layers_is_read_at_the_middle_one(asked):
    model, _, (a, b) = asked
    vector = SteeringVector("v", {1: a.vector, 2: b.vector, 3: a.vector}, {}, Provenance())
    found = finish(run_tokens(model, "Hi", Voice.of(vector, [1, 2, 3], 2.0), Voice("told", system="Say x.")))
    (track,) = found["tracks"]
    prompt = ask(model.tokenizer, "Hi")
    direction = Direction("v", b.vector, 2)
    answers = found["answers"]
    same = finish(read_voices(model, prompt, answers["both"], answers["unsteered"], [direction])).tracks[0]
    assert (track["layer"], track["values"]) == (2, same.values)


def test_it_can_be_kept(asked):
    model, prompt, voices = asked
    found = finish(read_voices(model, prompt, "<b>no</b> tag", "Well.", voices))
    assert TokenVoices.of(found.summary()) == found
    with pytest.raises(InputError, match="cannot be read"):
        TokenVoices.of({"tokens": []})


def test_nothing_to_read(asked):
    model, prompt, voices = asked
    with pytest.raises(InputError, match="no answer to read yet"):
        finish(read_voices(model, prompt, "", "Well.", voices))
    with pytest.raises(InputError, match="tokens; "):
        finish(read_voices(model, prompt, "word " * 3000, "Well.", voices))
