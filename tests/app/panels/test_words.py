"""What the page says of the embedded model, and of what is measured on it."""

import html
import json
import re

import pytest

from caa_core.app.studio import Studio
from tests.helpers.handlers import Handlers
from tests.helpers.waiting import until


@pytest.fixture(scope="module")
def studio(embedded, gradio_files):
    """It begins with the model whose weights are read already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("caa_core.app.studio.read", lambda *_, **__: embedded)
        patch.setattr("caa_core.app.studio.wrap", lambda loaded: loaded)
        studio = Studio("smollm2-135m", say=lambda _: None)
    until(lambda: studio.capability is not None)
    return studio


@pytest.fixture(scope="module")
def page(studio):
    page = Handlers(studio)
    for section in ("compete-settings", "compete-written-settings"):
        page.fill(section, "New tokens", 8)
    return page


def row(table, name):
    """Cells of a table in Markdown, of the row that has a name in it."""
    return next(
        [cell.strip(" *") for cell in line.strip("| ").split("|")] for line in table.splitlines() if name in line
    )


def test_the_catalogue_says_what_there_is_and_loads_it(page):
    page.call("refresh", "model-list")
    other = row(page["model-list"].replace("\\", ""), "Qwen2.5-Coder-1.5B-Instruct")
    assert "3.55 GB" in other and "A/B questions and free text" in other
    assert "loaded" in row(page["model-list"].replace("\\", ""), "SmolLM2-135M-Instruct")
    page.run("change", "model-status", model_spec="smollm2-135m")
    assert page["model-status"] == "It is loaded."
    assert "SmolLM2-135M-Instruct" in page["model-line"]


def test_two_vectors_are_one_sum_and_come_to_equal_strengths(page):
    voices = {"compete_a_vector": "joy", "compete_b_vector": "gloom"}
    page.run("explain", "compete-decomposition", compete_kind="Same layer", **voices)
    assert "They mostly agree" in page["compete-decomposition"]
    asked = {"compete_kind": "Different layers", "compete_b_layer": 20}
    page.call("balance", "compete-b-multiplier", **asked)
    page.run("explain", "compete-decomposition", **asked)
    _, a, b, *_ = row(page["compete-decomposition"], "relative strength")
    assert abs(float(a) - float(b)) < 0.02


def test_the_answer_is_read_token_by_token(page):
    page.run("run", "compete-status", compete_prompt="How was your day?", compete_kind="Different layers")
    page.run("run", "compete-tokens-text")
    tokens = re.sub("<[^>]*>", "", page["compete-tokens-text"].partition("caa-tokens")[2].partition(">")[2])
    assert html.unescape(tokens).replace("⏎", "").split() == page["compete-both"][-1]["content"].split()


def test_which_voice_written_answers_follow(page, tmp_path):
    asked = ["What was the best part of your week?", "How was <b>lunch</b> today?"]
    (tmp_path / "asked.json").write_text(json.dumps([{"question": question} for question in asked]))
    few = {"compete_written_questions": str(tmp_path / "asked.json"), "compete_written_samples": 1}
    page.run("run", "compete-written-said", **few)
    assert "2 questions are too few for a verdict" in page["compete-written-said"]
    assert "formal against casual" in page["compete-written-said"]
    assert any(bars.type == "bar" and len(bars.y) for bars in page["compete-written-figure"].data)


def test_what_suits_the_model_is_said_of_questions(page):
    page.call("choose", "generate-kind", generate_questions=True)
    for words in (
        r"joy \(A/B questions\)",
        "matching letters: A 22, B 21",
        r"the letter is the second of them, index \-2",
        "free-text pairs suit it better",
    ):
        assert words in page["generate-kind"]
    page.run("run", "generate-about", generate_limit=4, generate_layers="12", generate_swap=True)
    assert "from 4 pairs, each in both letter orders" in page["generate-status"]
    assert "in the given order alone it would have been" in page["generate-about"]
