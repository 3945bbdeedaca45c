"""A model that thinks before it answers: on the page, at the endpoint, as OpenAI's client asks it, and in the shell."""

import gradio as gr
import openai
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from caa_core.app.panels.conversation import THOUGHT_ALONE, shown, turns, unpack, writing_settings
from caa_core.app.panels.page import Page
from caa_core.app.panels.steer import tab as steer
from caa_core.app.panels.steer.chosen import more_settings
from caa_core.app.programs.completions import routes
from caa_core.app.programs.endpoints import Endpoints
from caa_core.app.studio import Studio
from caa_core.cli.main import main
from caa_core.metrics.vector_requests import SteeringRequest
from caa_core.model.prompts import ask, render
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import CUT_IN_THOUGHT, side_by_side
from caa_core.steering.interventions import Positions, Steer
from tests.helpers.thinking import END, save_thinking

ASKING = gr.Request(session_hash="somebody")
QUESTION = "Tell me about the long weekend that you had in the mountains."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save_thinking(tmp_path_factory.mktemp("thinking")))


@pytest.fixture(scope="module")
def studio(folder, gradio_files):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAA_DTYPE", "float32")
        return Studio(folder, say=lambda _: None)


@pytest.fixture(scope="module")
def expected(studio):
    """By how many tokens may be written, both answers where only what follows the thought is steered."""
    session = studio.session("somebody")

    def work(model):
        vector = yield from studio.vector(model, session, "joy")
        prompt = ask(model.tokenizer, QUESTION, think=True)
        how = (Steer(vector.at(2), 2, 3.0),), Positions("after-thought")
        found = {}
        for tokens in (2, 16):
            found[tokens] = yield from side_by_side(model, prompt, *how, Decoding(tokens))
        return found

    job = studio.run(work, session)
    for _ in session.follow("expected", job):
        pass
    found = job.result
    assert found[16].steered.thought and found[16].steered.text and found[2].steered.is_thinking
    return found


@pytest.fixture(scope="module")
def chat(studio):
    with gr.Blocks() as blocks:
        page = Page(studio, blocks, gr.Markdown(), gr.State(0), steer.controls(studio), gr.State(0))
        form = {**writing_settings("steer", lambda: more_settings("steer")), **vars(page.steer)}
        return steer.SteerChat(page, form, ("Rain?",))


def written(chat, **asked):
    """The chat behind what is asked, and what the status says."""
    form = {name: getattr(part, "value", None) for name, part in chat.form.items()}
    form |= {"vector": "joy", "layer": 2, "multiplier": 3.0, "question": QUESTION, "think": True, "exchanges": ()}
    form |= {"positions": "after-thought", "max_new_tokens": 16, **asked}
    last = list(chat.run(ASKING, *(form[name] for name in chat.form)))[-1]
    kept = chat.page.session(ASKING).person.results["steer"]
    return unpack(kept["exchanges"], 2), last[chat.status]


def test_thought_and_answer_have_boxes_of_their_own(chat, expected):
    exchanges, status = written(chat)
    (one,), whole = exchanges, expected[16]
    assert one.thoughts == (whole.unsteered.thought, whole.steered.thought) and not one.can_go_on
    assert one.answers == (whole.unsteered.text, whole.steered.text)
    *_, thought, answer = shown(exchanges, 1)
    assert thought["metadata"]["title"] == "Thought" and "metadata" not in answer
    assert f"wrote {len(whole.unsteered.ids)} + {len(whole.steered.ids)} tokens" in status
    # What was thought is no part of what the model reads next.
    later = render(chat.studio.model.tokenizer, [*turns(exchanges, 1), {"role": "user", "content": "Why?"}])
    assert one.thoughts[1] not in later.text and one.answers[1].split(END)[-1].lstrip("\n") in later.text


def test_an_answer_that_is_cut_within_its_thought_is_said_to_be(chat, expected):
    exchanges, status = written(chat, max_new_tokens=2)
    assert exchanges[0].answers == ("", "") and exchanges[0].thoughts[1] == expected[2].steered.thought
    assert "2 of 2 were cut at 2 tokens: see More settings. 2 of 2 were cut within their thought, so there is" in status
    assert shown(exchanges, 1)[-1]["metadata"]["title"] == THOUGHT_ALONE


def test_who_does_not_let_it_think_is_told(chat, studio, tiny_llama, monkeypatch):
    with pytest.raises(gr.Error, match="was not asked to think first, so there is no after-thought"):
        written(chat, think=False)
    assert chat.form["think"].visible
    # Another model that does not think: the choice goes, and what was chosen before is not asked of it.
    monkeypatch.setattr(studio.model, "tokenizer", tiny_llama.tokenizer)
    assert not chat.offer_thinking(ASKING)[chat.form["think"]]["visible"]
    with pytest.raises(gr.Error, match="does not think before it answers, so there is no after-thought"):
        written(chat)


def test_an_endpoint_and_a_command_give_both(studio, folder, expected, capsys, monkeypatch):
    asked = {"positions": "after-thought", "max_new_tokens": 16, "think": True}
    options = {name: one.default for name, one in SteeringRequest.options().items()} | asked
    steer_at = Endpoints(studio).steer
    found = steer_at(ASKING, QUESTION, ["joy:2:3"], projections=True, **options)
    whole = expected[16].summary()
    assert {name: found[name] for name in whole} == whole and len(found["projections"]) == 1
    with pytest.raises(gr.Error, match="was not asked to think first"):
        steer_at(ASKING, QUESTION, ["joy:2:3"], projections=False, **{**options, "think": False})
    monkeypatch.setenv("CAA_DTYPE", "float32")
    said = ["steer", "--model", folder, "--prompt", QUESTION, "--steer", "joy:2:3", "--think"]
    assert main([*said, "--positions", "after-thought", "--max-new-tokens", "16"]) == 0
    printed, one = capsys.readouterr().out, expected[16].steered
    assert f"--- steered, thought\n{one.thought}\n\n--- steered, answer\n{one.text}" in printed
    assert main([*said, "--max-new-tokens", "2"]) == 0
    assert f"--- steered: {CUT_IN_THOUGHT}" in capsys.readouterr().out


def test_openai_s_client_reads_a_thought_apart(studio, expected):
    steering = {"vector": "joy", "layer": 2, "multiplier": 3, "positions": "after-thought"}
    more = {"steering": [steering], "chat_template_kwargs": {"enable_thinking": True}}
    messages = [{"role": "user", "content": QUESTION}]
    with TestClient(Starlette(routes=routes(studio))) as web:
        program = openai.OpenAI(base_url="http://testserver/v1", api_key="none", http_client=web, max_retries=0)

        def create(**asked):
            return program.chat.completions.create(model="", messages=messages, extra_body=more, **asked)

        said, one = create(max_tokens=16), expected[16].steered
        message = said.choices[0].message
        assert (message.reasoning_content, message.content) == (one.thought, one.text)
        assert said.usage.completion_tokens_details.reasoning_tokens == one.answer_from < said.usage.completion_tokens
        parts = [part.choices[0].delta for part in create(max_tokens=16, stream=True)]
        thoughts = [part.reasoning_content for part in parts if hasattr(part, "reasoning_content")]
        assert "".join(thoughts) == one.thought and "".join(part.content or "" for part in parts) == one.text
        cut = create(max_tokens=2)
        assert cut.choices[0].finish_reason == "length" and cut.notes == [f"The answer was {CUT_IN_THOUGHT}"]
        more["chat_template_kwargs"] = {"thinking": True}
        with pytest.raises(openai.BadRequestError, match="give an object with enable_thinking"):
            create()
