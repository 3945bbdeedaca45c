"""The page as a person uses it: Debian's Chromium, the running app, the embedded model."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, expect

from caa_core.data.presets import presets
from caa_core.vectors.formats import read_vector, write_vector
from caa_core.vectors.vector import load_vector
from tests.browser.conftest import drawn
from tests.helpers.places import ROOT

pytestmark = pytest.mark.browser
LONG = 300_000


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()
    drawn(page)


def unfold(page: Page, title: str, section: str = "body") -> None:
    """Open (or close) the accordion of this title in a section."""
    page.locator(section).get_by_text(title).first.click()
    drawn(page)


def last_answer(page: Page, column: str) -> str:
    return page.locator(f"#{column} .bot.message").last.inner_text()


def write(page: Page, panel: str = "steer", button: str = "write") -> None:
    page.locator(f"#{panel}-{button}").click()
    status = page.locator(f"#{panel}-status")
    expect(status).not_to_contain_text("wrote", timeout=LONG)
    expect(status).to_contain_text("wrote", timeout=LONG)


def set_new_tokens(page: Page, count: int, panel: str = "steer") -> None:
    settings = f"#{panel}-settings"
    unfold(page, "More settings", settings)
    page.locator(settings).get_by_label("number input for New tokens").fill(str(count))


def choose(page: Page, picker: str, label: str) -> None:
    page.locator(f"#{picker} input").click()
    # A list that was open before may still be fading out.
    page.get_by_role("option", name=label, exact=True).last.click()


def slide(page: Page, slider: str, value: float) -> None:
    box = page.locator(f"#{slider} input[type=number]")
    box.fill(str(value))
    box.press("Enter")


def bring(page: Page, *files) -> None:
    unfold(page, "Bring a vector", "#generate-bring")
    page.locator("#generate-add input[type=file]").set_input_files(list(files))


def upload(page: Page, file) -> None:
    tab(page, "Generate vectors")
    page.locator("#generate-upload input[type=file]").set_input_files(file)


@contextmanager
def slow(page: Page) -> Iterator[None]:
    """Calls of the app take two seconds to be sent, so that what a person does next comes before their end."""
    page.evaluate(
        """() => { window.quick = window.fetch; window.fetch = async (...call) => {
             if (String(call[0]).includes("queue/join")) await new Promise(done => setTimeout(done, 2000));
             return window.quick(...call); } }"""
    )
    yield
    page.evaluate("() => { window.fetch = window.quick; }")


def toast(page: Page):
    return page.locator(".toast-body.error")


def test_the_first_minute_with_a_preset(page, tmp_path):
    expect(page.locator("#steer-strength")).to_contain_text("Relative strength 0.", timeout=LONG)
    page.locator("#steer-prompt textarea").fill("How was your day?")
    page.locator("#steer-write").click()
    # Both columns stream: there is text in both while more is still to come.
    expect(page.locator("#steer-status")).to_contain_text("Writing", timeout=LONG)
    for column in ("steer-unsteered", "steer-steered"):
        expect(page.locator(f"#{column} .bot.message")).to_contain_text(re.compile(r"\w+"), timeout=LONG)
    expect(page.locator("#steer-status")).to_contain_text("wrote 80 + 80 tokens", timeout=LONG)
    expect(page.locator("#steer-status")).to_contain_text("2 of 2 were cut at 80 tokens")
    assert last_answer(page, "steer-unsteered") != last_answer(page, "steer-steered")
    expect(page.locator("#steer-prompt textarea")).to_have_value("")
    # `make screenshot` keeps it for the README.
    page.screenshot(
        path=ROOT / "docs" / "screenshot.png" if os.environ.get("CAA_SCREENSHOT") else tmp_path / "shot.png"
    )
    unfold(page, "Which tokens are steered")
    expect(page.locator("#steer-marked")).to_contain_text("<|im_start|>")


def test_multiplier_0_gives_equal_columns(page):
    set_new_tokens(page, 16)
    slide(page, "steer-multiplier", 0)
    expect(page.locator("#steer-strength")).to_contain_text("Relative strength 0.00", timeout=LONG)
    write(page)
    expect(page.locator("#steer-status")).to_contain_text("All columns are equal")
    assert last_answer(page, "steer-unsteered") == last_answer(page, "steer-steered")


def test_a_chat_keeps_two_histories_and_can_be_retried_and_cleared(page):
    set_new_tokens(page, 16)
    write(page)
    first = last_answer(page, "steer-steered")
    page.locator("#steer-prompt textarea").fill("Why?")
    write(page)
    for column in ("steer-unsteered", "steer-steered"):
        expect(page.locator(f"#{column} .user.message")).to_have_count(2)
        expect(page.locator(f"#{column} .bot.message")).to_have_count(2)
    second = last_answer(page, "steer-steered")
    write(page, button="retry")
    expect(page.locator("#steer-steered .bot.message")).to_have_count(2)
    assert last_answer(page, "steer-steered") == second != first
    page.locator("#steer-clear").click()
    expect(page.locator("#steer-steered .bot.message")).to_have_count(0)


def test_stop_ends_the_writing_and_keeps_what_was_written(page):
    set_new_tokens(page, 512)
    page.locator("#steer-write").click()
    expect(page.locator("#steer-steered .bot.message")).to_contain_text(re.compile(r"\w+ \w+"), timeout=LONG)
    for button in ("write", "retry"):
        expect(page.locator(f"#steer-{button}")).to_be_disabled()
    page.locator("#steer-stop").click()
    expect(page.locator("#steer-status")).to_contain_text("stopped after", timeout=60_000)
    for button in ("write", "retry"):
        expect(page.locator(f"#steer-{button}")).to_be_enabled()
    assert len(last_answer(page, "steer-steered")) > 3


def test_the_whole_way_with_an_uploaded_file(page, tmp_path):
    pairs = [
        {
            "prompt": p,
            "positive": f"Arr, matey! {p} Shiver me timbers, ye scurvy dog!",
            "negative": "I cannot really say.",
        }
        for p in ("How was your day?", "Where is the sea?", "What do you eat?", "Who are you?", "Is it late?")
    ]
    (tmp_path / "pirate.json").write_text(json.dumps(pairs))
    tab(page, "Generate vectors")
    page.locator("#generate-upload input[type=file]").set_input_files(tmp_path / "pirate.json")
    expect(page.locator("#generate-kind")).to_contain_text("JSON with prompt, positive, negative: 5 free-text pairs")
    expect(page.locator("#generate-preview")).to_contain_text("Shiver me timbers")
    expect(page.locator("#generate-name textarea, #generate-name input")).to_have_value("pirate")
    page.locator("#generate-make").click()
    expect(page.locator("#generate-status")).to_contain_text(
        re.compile(r"Made pirate from 5 pairs\.\s*$"), timeout=LONG
    )
    expect(page.locator("#generate-plot .js-plotly-plot")).to_be_visible(timeout=LONG)
    with page.expect_download() as download:
        page.locator("#generate-download").click()
    saved = tmp_path / "down.safetensors"
    download.value.save_as(saved)
    vector = load_vector(saved)
    assert (vector.name, len(vector.layers), vector.provenance.num_pairs) == ("pirate", 30, 5)

    bring(page, saved)
    expect(page.locator("#generate-found")).to_contain_text("from: 5 pairs of pirate")
    page.locator("#generate-keep").click()
    expect(page.locator("#generate-done")).to_contain_text("Loaded pirate (2)")

    tab(page, "Steer")
    choose(page, "steer-vector", "pirate (2) (yours)")
    slide(page, "steer-layer", 12)
    slide(page, "steer-multiplier", 1.5)
    set_new_tokens(page, 24)
    write(page)
    assert last_answer(page, "steer-unsteered") != last_answer(page, "steer-steered")


def test_the_whole_way_with_a_preset(page):
    tab(page, "Generate vectors")
    choose(page, "generate-preset", "gloom")
    expect(page.locator("#generate-kind")).to_contain_text("gloom")
    page.locator("#generate-layers textarea, #generate-layers input").first.fill("12-14")
    page.locator("#generate-make").click()
    expect(page.locator("#generate-status")).to_contain_text("Made my gloom from 43 pairs", timeout=LONG)
    tab(page, "Steer")
    choose(page, "steer-vector", "my gloom (yours)")
    # The layer nearest to the middle that the vector has.
    expect(page.locator("#steer-layer input[type=number]")).to_have_value("12")
    slide(page, "steer-multiplier", 1.5)
    set_new_tokens(page, 24)
    write(page)
    assert last_answer(page, "steer-unsteered") != last_answer(page, "steer-steered")


def test_columns_are_chosen_and_what_the_linter_finds_is_mended(page, tmp_path):
    rows = ["ask,yes,no", "How was your day?,So lovely!,It was a day.", "Rain?,What joy!,It is wet.", "Sun?,,Hot."]
    (tmp_path / "odd.csv").write_text("\n".join([*rows, "Snow?,A wonder!,It is cold."]))
    upload(page, tmp_path / "odd.csv")
    kind = page.locator("#generate-kind")
    expect(kind).to_contain_text("Not usable yet")
    with slow(page):
        for role, column in (("prompt", "ask"), ("positive", "yes"), ("negative", "no")):
            choose(page, f"generate-{role}-column", column)
    expect(kind).to_contain_text("the field 'yes' is missing or empty (pair 3)")
    page.locator("#generate-make").click()
    expect(toast(page)).to_contain_text("Choose 'drop' under Mends")
    page.locator("#generate-mends").get_by_text("drop: the field 'yes'").click()
    expect(kind).to_contain_text("3 free-text pairs, 1 dropped")
    page.locator("#generate-layers textarea, #generate-layers input").first.fill("12")
    page.locator("#generate-make").click()
    expect(page.locator("#generate-status")).to_contain_text("Made odd from 3 pairs", timeout=LONG)
    expect(page.locator("#generate-about")).to_contain_text("3 pairs of odd (1 dropped)")


def test_pairs_are_typed_and_downloaded(page, tmp_path):
    tab(page, "Generate vectors")
    unfold(page, "Type or edit pairs", "#generate-edit")
    rows = page.locator("#generate-rows")
    texts = [("Rain?", "Arr, wet!", "It is wet."), ("Sun?", "Arr, hot!", "It is hot.")]
    for row, cells in enumerate(texts):
        for column, text in enumerate(cells):
            rows.locator(f"[data-row='{row}'][data-col='{column}']").first.dblclick()
            page.get_by_label("Edit cell").fill(text)
            page.keyboard.press("Enter")
    page.locator("#generate-use").click()
    expect(page.locator("#generate-kind")).to_contain_text("2 free-text pairs")
    expect(page.locator("#generate-preview")).to_contain_text("Arr, hot!")
    with page.expect_download() as download:
        page.locator("#generate-save").click()
    download.value.save_as(tmp_path / "typed.json")
    read = json.loads((tmp_path / "typed.json").read_text())
    assert [tuple(pair.values()) for pair in read] == texts


def test_methods_are_compared(page):
    tab(page, "Generate vectors")
    page.locator("#generate-limit input").fill("12")
    page.locator("#generate-layers textarea, #generate-layers input").first.fill("8,14")
    page.locator("#generate-compare").click()
    expect(page.locator("#generate-status")).to_contain_text("Compared 4 methods on 12 pairs", timeout=LONG)
    expect(page.locator("#generate-verdict")).to_contain_text("logistic probe: AUC")
    expect(page.locator("#generate-compared .js-plotly-plot")).to_have_count(2, timeout=LONG)


def test_vectors_come_from_other_tools_are_combined_renamed_and_go_again(page, tmp_path):
    write_vector(load_vector(ROOT / "presets" / "joy" / "vector.safetensors"), tmp_path / "theirs.gguf")
    tab(page, "Generate vectors")
    (tmp_path / "no.gguf").write_bytes(b"GGUF and nothing more")
    bring(page, tmp_path / "no.gguf")
    expect(toast(page)).to_contain_text("no.gguf is not a GGUF file of a control vector")
    expect(page.locator("#generate-add")).to_contain_text("Drop File Here")
    page.locator("#generate-add input[type=file]").set_input_files(tmp_path / "theirs.gguf")
    expect(page.locator("#generate-found")).to_contain_text("layers: 1 to 29")
    page.locator("#generate-keep").click()
    expect(page.locator("#generate-done")).to_contain_text("Loaded joy (2)")

    unfold(page, "Combine", "#generate-combine")
    choose(page, "combine-a", "joy (2) (yours)")
    choose(page, "combine-operation", "A without its part along B")
    page.locator("#combine-make").click()
    expect(page.locator("#generate-done")).to_contain_text("Made joy (2) without gloom", timeout=LONG)
    expect(page.locator("#generate-about")).to_contain_text("operations: joy (2) without gloom")

    unfold(page, "Rename or delete", "#generate-rename")
    page.locator("#generate-title textarea, #generate-title input").first.fill("only joy")
    page.locator("#generate-rename-button").click()
    expect(page.locator("#generate-done")).to_contain_text("It is called only joy now")
    choose(page, "generate-format", "GGUF (llama.cpp)")
    expect(page.locator("#generate-note")).to_contain_text("adds it at every position")
    with page.expect_download() as download:
        page.locator("#generate-download").click()
    download.value.save_as(tmp_path / "mine.gguf")
    again = read_vector(tmp_path / "mine.gguf")
    assert (again.name, len(again.layers)) == ("only joy", 29)
    page.locator("#generate-delete").click()
    expect(page.locator("#generate-done")).to_contain_text("Deleted only joy")
    expect(page.locator("#generate-shown input")).to_have_value("joy (2)")


def test_the_page_says_what_the_model_can_do(page):
    expect(page.locator("#model-line")).to_contain_text("It does not answer A/B questions", timeout=LONG)
    expect(page.locator("#model-line")).to_contain_text("use free-text data")
    tab(page, "Generate vectors")
    page.locator("#generate-questions").get_by_text("as A/B questions").click()
    kind = page.locator("#generate-kind")
    expect(kind).to_contain_text("joy (A/B questions)")
    expect(kind).to_contain_text("matching letters: A 22, B 21")
    expect(kind).to_contain_text("the letter is the second of them, index -2")
    expect(kind).to_contain_text("free-text pairs suit it better")
    page.locator("#generate-limit input").fill("4")
    page.locator("#generate-layers textarea, #generate-layers input").first.fill("12")
    page.locator("#generate-swap").get_by_text("Use both letter orders").click()
    page.locator("#generate-make").click()
    expect(page.locator("#generate-status")).to_contain_text("from 4 pairs, each in both letter orders", timeout=LONG)
    expect(page.locator("#generate-about")).to_contain_text("in the given order alone it would have been")


def test_clear_stops_the_writing_and_nothing_comes_back(page):
    set_new_tokens(page, 512)
    page.locator("#steer-write").click()
    expect(page.locator("#steer-steered .bot.message")).to_contain_text(re.compile(r"\w+ \w+"), timeout=LONG)
    page.locator("#steer-clear").click()
    expect(page.locator("#steer-steered .bot.message")).to_have_count(0)
    page.wait_for_timeout(1500)
    expect(page.locator("#steer-steered .bot.message")).to_have_count(0)
    expect(page.locator("#steer-write")).to_be_enabled()


def test_names_and_fields_of_strangers_are_shown_letter_by_letter(page, tmp_path):
    script = "<img src=x onerror=document.title='owned'>"
    (tmp_path / "x.json").write_text(json.dumps([{script: 1}]))
    tab(page, "Generate vectors")
    page.locator("#generate-upload input[type=file]").set_input_files(tmp_path / "x.json")
    expect(toast(page)).to_contain_text("<img src=x")
    pairs = [{"prompt": f"{script} {i}", "positive": script, "negative": f"*no* {i}"} for i in range(3)]
    (tmp_path / "y.json").write_text(json.dumps(pairs))
    page.locator("#generate-upload input[type=file]").set_input_files(tmp_path / "y.json")
    expect(page.locator("#generate-preview")).to_contain_text("onerror")
    page.locator("#generate-name textarea, #generate-name input").first.fill(script)
    page.locator("#generate-layers textarea, #generate-layers input").first.fill("12")
    page.locator("#generate-make").click()
    expect(page.locator("#generate-status")).to_contain_text(f"Made {script}", timeout=LONG)
    expect(page.locator("#generate-about")).to_contain_text(script)
    assert page.title() == "CAA Studio"
    assert page.locator("img[src=x]").count() == 0


def test_making_a_vector_can_be_stopped(page, reference_data):
    tab(page, "Generate vectors")
    page.locator("#generate-upload input[type=file]").set_input_files(
        reference_data / "data" / "caa" / "sycophancy" / "generate_dataset.json"
    )
    expect(page.locator("#generate-kind")).to_contain_text("1000 multiple-choice questions", timeout=LONG)
    page.locator("#generate-make").click()
    expect(page.locator("#generate-status")).to_contain_text(
        re.compile(r"\d+ of 1000 pairs, about \d+ s left"), timeout=LONG
    )
    expect(page.locator("#generate-status progress")).to_be_visible()
    for button in ("make", "compare"):
        expect(page.locator(f"#generate-{button}")).to_be_disabled()
    page.locator("#generate-stop").click()
    expect(page.locator("#generate-status")).to_contain_text("No vector was made", timeout=60_000)
    for button in ("make", "compare"):
        expect(page.locator(f"#generate-{button}")).to_be_enabled()


def test_a_bad_file_is_said_and_what_was_there_stays(page, tmp_path):
    tab(page, "Generate vectors")
    expect(page.locator("#generate-kind")).to_contain_text("joy")
    (tmp_path / "bad.json").write_text('[{"prompt": "a", "positive": "b"}]')
    page.locator("#generate-upload input[type=file]").set_input_files(tmp_path / "bad.json")
    expect(toast(page)).to_contain_text("needed are prompt, positive, negative")
    expect(page.locator("#generate-kind")).to_contain_text("joy")
    expect(page.locator("#generate-preview")).to_contain_text("Wonderful, thank you")
    assert "Traceback" not in page.content()


def test_an_empty_prompt_is_said_and_the_chat_stays(page):
    set_new_tokens(page, 16)
    write(page)
    answer = last_answer(page, "steer-steered")
    page.locator("#steer-prompt textarea").fill("   ")
    page.locator("#steer-write").click()
    expect(toast(page)).to_contain_text("The prompt is empty")
    assert last_answer(page, "steer-steered") == answer
    # Nothing lies over it either.
    page.locator("#steer-steered .bot.message").last.click(timeout=30_000)
    # One that fails when it has begun, and then one that does not.
    page.locator("#steer-prompt textarea").fill("word " * 9000)
    page.locator("#steer-write").click()
    expect(toast(page).last).to_contain_text("Shorten it, or clear the chat")
    expect(page.locator("#steer-write")).to_be_enabled()
    page.locator("#steer-prompt textarea").fill("Why?")
    write(page)


def test_markup_in_a_chat_is_shown_as_it_is(page):
    set_new_tokens(page, 8)
    question = "<b>bold</b> <img src=x onerror=alert(1)> <script>1</script> 3 < 5 &amp; **x**"
    page.locator("#steer-prompt textarea").fill(question)
    write(page)
    assert page.locator("#steer-steered .user.message").inner_text().strip() == question
    assert page.locator("#steer-steered img[src=x], #steer-steered b").count() == 0


def test_the_page_stands_still_on_a_phone(page):
    page.set_viewport_size({"width": 400, "height": 800})
    tab(page, "Generate vectors")
    page.wait_for_timeout(1000)
    widths = {page.evaluate("document.documentElement.scrollWidth") for _ in range(30) if not page.wait_for_timeout(50)}
    assert len(widths) == 1, widths


def test_two_vectors_in_four_columns(page):
    tab(page, "Compete")
    table = page.locator("#compete-decomposition")
    expect(table).to_contain_text("Cosine between A and B", timeout=LONG)
    expect(table).to_contain_text("They mostly agree")
    page.locator("#compete-kind").get_by_label("Different layers").click()
    slide(page, "compete-b-layer", 20)
    expect(table).to_contain_text("different layers", timeout=LONG)
    page.locator("#compete-equal").click()
    strengths = table.locator("tr", has_text="relative strength").locator("td")
    expect(strengths.nth(2)).not_to_have_text("", timeout=LONG)
    page.wait_for_function(
        """() => { const c = [...document.querySelectorAll('#compete-decomposition tr')].at(-1).children;
                   return Math.abs(c[1].innerText - c[2].innerText) < 0.02; }""",
        timeout=LONG,
    )
    set_new_tokens(page, 24, "compete")
    write(page, "compete")
    columns = [last_answer(page, f"compete-{name}") for name in ("unsteered", "a", "b", "both")]
    assert len(set(columns)) == 4
    expect(page.locator("#compete-shared")).to_be_hidden()  # there is no such sum of two layers
    unfold(page, "Token by token: where")
    text = page.locator("#compete-tokens-text .caa-tokens")
    expect(text).to_be_visible(timeout=LONG)
    assert text.inner_text().replace("⏎", "").split() == columns[3].split()
    expect(page.locator("#compete-tokens-lines .js-plotly-plot")).to_contain_text("token of the answer", timeout=LONG)
    # At one layer and other multipliers, what both share is a column of its own.
    page.locator("#compete-kind").get_by_label("Same layer").click()
    slide(page, "compete-b-multiplier", 0.5)
    expect(page.locator("#compete-shared")).to_be_visible(timeout=LONG)
    expect(page.locator("#compete-apart")).to_be_visible()


def test_the_catalogue_says_what_there_is_and_loads_it(page):
    tab(page, "Models")
    table = page.locator("#model-list")
    row = table.locator("tr", has_text="Qwen2.5-Coder-1.5B-Instruct")
    expect(row).to_contain_text("3.55 GB")
    expect(row).to_contain_text("A/B questions and free text")
    expect(table.locator("tr", has_text="loaded")).to_contain_text("SmolLM2-135M-Instruct")
    page.locator("#model-load").click()
    expect(page.locator("#model-status")).to_contain_text("It is loaded", timeout=LONG)
    expect(page.locator("#model-line")).to_contain_text("SmolLM2-135M-Instruct")


def test_an_unknown_model_leaves_the_old_one(page):
    tab(page, "Models")
    page.locator("#model-spec input").fill("not a model")
    page.locator("#model-spec input").press("Enter")
    page.locator("#model-load").click()
    expect(toast(page)).to_contain_text("There is no model")
    expect(page.locator("#model-line")).to_contain_text("SmolLM2-135M-Instruct")
    expect(page.locator("#model-status")).to_contain_text("The model was not changed")
    tab(page, "Steer")
    set_new_tokens(page, 8)
    write(page)


def four_items(tmp_path):
    """A contest that is measured soon."""
    rows = json.loads((presets()["joy"].folder / "contest.json").read_text())[:4]
    (tmp_path / "four.json").write_text(json.dumps(rows))
    return tmp_path / "four.json"


def test_two_voices_come_to_a_verdict(page, tmp_path):
    tab(page, "Compete")
    slide(page, "compete-verdict-controls", 0)
    page.locator("#compete-verdict-measure").click()
    said = page.locator("#compete-verdict-said")
    expect(said).to_contain_text("without controls", timeout=LONG)
    expect(said).to_contain_text("13 items of joy against gloom, 13 prompts")
    expect(page.locator("#compete-verdict-apart")).to_contain_text("nats a token")
    expect(page.locator("#compete-verdict-gauge")).to_contain_text("dominance D")
    unfold(page, "Item by item")
    expect(page.locator("#compete-verdict-table")).to_contain_text("m with both")
    with page.expect_download() as download:
        page.locator("#compete-verdict-json").click()
    download.value.save_as(tmp_path / "contest.json")
    found = json.loads((tmp_path / "contest.json").read_text())
    assert found["contest"] and len(found["rows"]) == 13
    # A vector against itself leaves nothing, and no gauge is drawn.
    page.locator("#compete-verdict-file input[type=file]").set_input_files(four_items(tmp_path))
    choose(page, "compete-b-vector", "joy (preset)")
    slide(page, "compete-b-multiplier", -1)
    page.locator("#compete-verdict-measure").click()
    expect(said).to_contain_text("cancel: next to nothing is left", timeout=LONG)
    expect(page.locator("#compete-verdict-gauge")).to_be_hidden()
    # What the model is told is a voice too: it is followed where the vector is weak.
    page.locator("#compete-kind").get_by_label("Vector against prompt").click()
    slide(page, "compete-a-multiplier", 0.1)
    expect(page.locator("#compete-decomposition")).to_contain_text("against a prompt is no sum", timeout=LONG)
    page.locator("#compete-verdict-measure").click()
    expect(said).to_contain_text("the prompt", timeout=LONG)
    set_new_tokens(page, 16, "compete")
    write(page, "compete")
    assert last_answer(page, "compete-b") != last_answer(page, "compete-unsteered")


def test_a_preset_brings_its_opposite_and_words_can_be_a_voice(page):
    tab(page, "Compete")
    choose(page, "compete-a-vector", "formal (preset)")
    expect(page.locator("#compete-b-vector input")).to_have_value("casual (preset)", timeout=LONG)
    expect(page.locator("#compete-verdict-contest input")).to_have_value("formal against casual")
    page.locator("#compete-kind").get_by_label("Vector against words").click()
    begins = page.locator("#compete-begins textarea")
    expect(begins).to_have_value(presets()["casual"].begins)
    expect(page.locator("#compete-b-multiplier")).to_be_hidden()
    expect(page.locator("#compete-decomposition")).to_contain_text("against words is no sum", timeout=LONG)
    set_new_tokens(page, 16, "compete")
    write(page, "compete")
    for name in ("b", "both"):
        assert last_answer(page, f"compete-{name}").startswith(presets()["casual"].begins)
    assert not last_answer(page, "compete-a").startswith(presets()["casual"].begins)


def test_a_surface_and_a_click_to_steer_with_its_cell(page, tmp_path):
    tab(page, "Compete")
    page.locator("#compete-verdict-file input[type=file]").set_input_files(four_items(tmp_path))
    unfold(page, "Surface: when do the voices")
    for letter in "ab":
        page.locator(f"#compete-surface-of-{letter} :is(input, textarea)").fill("0,0.5,1")
    page.locator("#compete-surface-draw").click()
    said = page.locator("#compete-surface-said")
    expect(said).to_contain_text("4 items of four, 4 prompts", timeout=LONG)
    figure = page.locator("#compete-surface-map .js-plotly-plot")
    expect(figure.locator(".heatmaplayer image")).to_have_count(1, timeout=LONG)
    figure.scroll_into_view_if_needed()
    area = figure.locator(".heatmaplayer image").bounding_box()
    page.mouse.move(area["x"] + area["width"] * 0.5, area["y"] + area["height"] * 0.85)
    expect(figure.locator(".hoverlayer")).to_contain_text("0.5 of joy, 0 of gloom")
    page.mouse.click(area["x"] + area["width"] * 0.5, area["y"] + area["height"] * 0.85)
    expect(page.locator("#compete-a-multiplier input[type=number]")).to_have_value("0.5", timeout=LONG)
    expect(page.locator("#compete-b-multiplier input[type=number]")).to_have_value("0")
    # The same by the drop-downs, from the keyboard: they begin with the last cell.
    page.locator("#compete-surface-steer").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#compete-a-multiplier input[type=number]")).to_have_value("1", timeout=LONG)
    with page.expect_download() as download:
        page.locator("#compete-surface-csv").click()
    assert len(download.value.path().read_text().splitlines()) == 10
    # All of it is there after a reload.
    page.reload()
    tab(page, "Compete")
    unfold(page, "Surface: when do the voices")
    expect(said).to_contain_text("4 items of four", timeout=LONG)
    expect(figure.locator(".heatmaplayer image")).to_have_count(1, timeout=LONG)
