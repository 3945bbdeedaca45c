"""The tab Generate vectors: pairs come as files or typed, become vectors, and go again."""

import json
import re

import pytest
from playwright.sync_api import expect

from caa_core.data.pairs import write_pairs
from caa_core.data.presets import presets
from caa_core.vectors.formats import read_vector, write_vector
from caa_core.vectors.vector import load_vector
from tests.helpers.browser import (
    ask,
    at_layer,
    bring,
    choose,
    download,
    fill,
    last_answer,
    make,
    on_the_way,
    reload,
    set_new_tokens,
    slide,
    tab,
    toast,
    unfold,
    upload,
)

pytestmark = pytest.mark.browser

SCRIPT = "<img src=x onerror=document.title='owned'>"


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
    upload(page, tmp_path / "pirate.json")
    expect(page.locator("#generate-kind")).to_contain_text("JSON with prompt, positive, negative: 5 free-text pairs")
    expect(page.locator("#generate-preview")).to_contain_text("Shiver me timbers")
    expect(page.locator("#generate-name textarea, #generate-name input")).to_have_value("pirate")
    page.locator("#generate-make").press("Enter")
    expect(page.locator("#generate-status")).to_contain_text(
        "Made pirate from 5 pairs. None were held out: that takes 16 prompts."
    )
    expect(page.locator("#generate-make")).to_be_focused()
    expect(page.locator("#generate-plot .js-plotly-plot")).to_be_visible()
    # What one goes on with is a click away, also in a tab that was not opened before.
    page.locator("#generate-next-measure").click()
    expect(page.locator("#measure-vector input")).to_have_value("pirate (yours)")
    tab(page, "Generate vectors")
    page.locator("#generate-next-compete").click()
    expect(page.locator("#compete-a-vector input")).to_have_value("pirate (yours)")
    tab(page, "Generate vectors")
    page.locator("#generate-next-steer").click()
    expect(page.locator("#steer-vector input")).to_have_value("pirate (yours)")
    tab(page, "Generate vectors")
    saved = download(page, "generate-download", tmp_path / "down.safetensors")
    vector = load_vector(saved)
    assert (vector.name, len(vector.layers), vector.provenance.num_pairs) == ("pirate", 4, 5)

    bring(page, saved)
    expect(page.locator("#generate-found")).to_contain_text("from: 5 pairs of pirate")
    page.locator("#generate-keep").click()
    expect(page.locator("#generate-done")).to_contain_text("Loaded pirate (2)")
    unfold(page, "Import a vector", "#generate-bring")

    tab(page, "Steer")
    choose(page, "steer-vector", "pirate (2) (yours)")
    slide(page, "steer-layer", 2)
    slide(page, "steer-multiplier", 1.5)
    set_new_tokens(page, 24)
    ask(page, "How was your day?")
    assert last_answer(page, "steer-unsteered") != last_answer(page, "steer-steered")


def test_columns_are_chosen_and_what_the_linter_finds_is_mended(page, tmp_path):
    """However fast one chooses: what the page asked for before has not come yet when the next choice is made."""
    rows = ["ask,yes,no", "How was your day?,So lovely!,It was a day.", "Rain?,What joy!,It is wet.", "Sun?,,Hot."]
    (tmp_path / "odd.csv").write_text("\n".join([*rows, "Snow?,A wonder!,It is cold."]))
    upload(page, tmp_path / "odd.csv")
    kind = page.locator("#generate-kind")
    expect(kind).to_contain_text("Not usable yet")
    with on_the_way(page):
        for role, column in (("prompt", "ask"), ("positive", "yes"), ("negative", "no")):
            choose(page, f"generate-{role}-column", column)
    expect(kind).to_contain_text("the field 'yes' is missing or empty (pair 3)")
    page.locator("#generate-make").click()
    expect(toast(page)).to_contain_text("Choose 'drop' under Fixes")
    page.locator("#generate-mends").get_by_text("drop: the field 'yes'").click()
    expect(kind).to_contain_text("3 free-text pairs, 1 dropped")
    at_layer(page, 1)
    page.locator("#generate-make").click()
    expect(page.locator("#generate-status")).to_contain_text("Made odd from 3 pairs")
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
    read = json.loads(download(page, "generate-save", tmp_path / "typed.json").read_text())
    assert [tuple(pair.values()) for pair in read] == texts


def test_vectors_come_from_other_tools_are_combined_renamed_and_go_again(page, tiny_app, tmp_path):
    write_vector(tiny_app.vector("joy"), tmp_path / "theirs.gguf")
    tab(page, "Generate vectors")
    (tmp_path / "no.gguf").write_bytes(b"GGUF and nothing more")
    bring(page, tmp_path / "no.gguf")
    expect(page.locator("#generate-found")).to_contain_text("no.gguf is not a GGUF file of a control vector")
    expect(page.locator("#generate-add")).to_contain_text("Drop File Here")
    page.locator("#generate-add input[type=file]").set_input_files(tmp_path / "theirs.gguf")
    expect(page.locator("#generate-found")).to_contain_text("layers: 1 to 3")
    page.locator("#generate-keep").click()
    expect(page.locator("#generate-done")).to_contain_text("Loaded joy (2)")

    unfold(page, "Combine", "#generate-combine")
    choose(page, "combine-a", "joy (2) (yours)")
    choose(page, "combine-operation", "A without its part along B")
    page.locator("#combine-make").click()
    expect(page.locator("#generate-done")).to_contain_text("Made joy (2) without gloom")
    expect(page.locator("#generate-about")).to_contain_text("operations: joy (2) without gloom")

    unfold(page, "Rename or delete", "#generate-rename")
    fill(page.locator("#generate-title textarea, #generate-title input").first, "only joy")
    page.locator("#generate-rename-button").click()
    expect(page.locator("#generate-done")).to_contain_text("It is called only joy now")
    choose(page, "generate-format", "GGUF (llama.cpp)")
    expect(page.locator("#generate-note")).to_contain_text("adds it at every position")
    again = read_vector(download(page, "generate-download", tmp_path / "mine.gguf"))
    assert (again.name, len(again.layers)) == ("only joy", 3)
    page.locator("#generate-delete").click()
    expect(page.locator("#generate-done")).to_contain_text("Deleted only joy")
    expect(page.locator("#generate-shown input")).to_have_value("joy (2)")
    page.locator("#generate-undo").click()
    expect(page.locator("#generate-shown input")).to_have_value("only joy")
    unfold(page, "Rename or delete", "#generate-rename")


def test_making_a_vector_can_be_stopped(page, tiny_app, tmp_path):
    write_pairs(presets()["joy"].dataset(), tmp_path / "many.json")
    upload(page, tmp_path / "many.json")
    expect(page.locator("#generate-kind")).to_contain_text("many")
    with tiny_app.holding(9):
        page.locator("#generate-make").click()
        expect(page.locator("#generate-status")).to_contain_text(re.compile(r"\d+ of \d+ pairs, about \d+ s left"))
        expect(page.locator("#generate-status progress")).to_be_visible()
        for button in ("make", "compare"):
            expect(page.locator(f"#generate-{button}")).to_be_disabled()
        page.locator("#generate-stop").click()
        expect(page.locator("#generate-status")).to_contain_text("No vector was made")
    for button in ("make", "compare"):
        expect(page.locator(f"#generate-{button}")).to_be_enabled()


def test_names_and_fields_of_strangers_are_shown_letter_by_letter(page, tmp_path):
    (tmp_path / "x.json").write_text(json.dumps([{SCRIPT: 1}]))
    upload(page, tmp_path / "x.json")
    expect(page.locator("#generate-kind")).to_contain_text("<img src=x")
    pairs = [{"prompt": f"{SCRIPT} {i}", "positive": SCRIPT, "negative": f"*no* {i}"} for i in range(3)]
    (tmp_path / "y.json").write_text(json.dumps(pairs))
    page.locator("#generate-upload input[type=file]").set_input_files(tmp_path / "y.json")
    expect(page.locator("#generate-preview")).to_contain_text("onerror")
    fill(page.locator("#generate-name textarea, #generate-name input").first, SCRIPT)
    at_layer(page, 1)
    page.locator("#generate-make").click()
    expect(page.locator("#generate-status")).to_contain_text(f"Made {SCRIPT}")
    expect(page.locator("#generate-about")).to_contain_text(SCRIPT)
    assert page.title() == "CAA Studio"
    assert page.locator("img[src=x]").count() == 0


def test_what_strangers_write_is_text_everywhere(page, tmp_path):
    # Fields and names of a file whose columns are not known, in the table, the choices and the sentences.
    fields = f"{SCRIPT},<b>yes</b>,http://a.b/c"
    upload(page, {"name": "\u202e<i>odd.csv", "mimeType": "text/csv", "buffer": f"{fields}\n1,2,3\n4,5,6".encode()})
    expect(page.locator("#generate-kind")).to_contain_text("Not usable yet")
    expect(page.locator("#generate-preview")).to_contain_text("<b>yes</b>")
    page.locator("#generate-prompt-column input").click()
    expect(page.get_by_role("option", name=SCRIPT)).to_be_visible()
    page.keyboard.press("Escape")
    assert page.locator("#generate-kind :is(b, i, a), img[src=x]").count() == 0
    pairs = [{"prompt": f"{SCRIPT} {i}", "positive": f"{SCRIPT}{i}", "negative": f"<b>no</b> {i}"} for i in range(5)]
    make(page, tmp_path, "strange", pairs)
    unfold(page, "Rename or delete", "#generate-rename")
    fill(
        page.locator("#generate-title textarea, #generate-title input").first,
        f"\u202e{SCRIPT}\u0007 *b* [x](javascript:1)",
    )
    page.locator("#generate-rename-button").click()
    clean = f"{SCRIPT} *b* [x](javascript:1)"
    expect(page.locator("#generate-done")).to_have_text(f"It is called {clean} now.")
    expect(page.locator("#generate-about")).to_contain_text(clean)

    tab(page, "Steer")
    page.locator("#steer-clear").click()
    expect(page.locator("#steer-steered .message")).to_have_count(0)
    choose(page, "steer-vector", f"{clean} (yours)")
    set_new_tokens(page, 16)
    ask(page, f"Repeat this HTML and nothing else: {SCRIPT}<b>bold</b>")
    expect(page.locator("#steer-status")).to_contain_text(clean)
    unfold(page, "Which tokens are steered")

    reload(page)
    expect(page.locator("#steer-unsteered .bot.message")).to_have_count(1)
    tab(page, "Generate vectors")
    expect(page.locator("#generate-about")).to_contain_text(clean)
    assert page.title() == "CAA Studio"
    tab(page, "Compete")
    choose(page, "compete-a-vector", f"{clean} (yours)")
    expect(page.locator("#compete-decomposition")).to_contain_text("Cosine")
    # An answer that has markup in it.
    choose(page, "compete-kind", "Vector against words")
    fill(page.locator("#compete-begins textarea"), f"{SCRIPT}<b>bold</b>")
    set_new_tokens(page, 8, "compete")
    ask(page, "How was your day?", "compete")
    assert "<b>bold</b>" in last_answer(page, "compete-b")
    assert page.locator("img[src=x], .bot b, a[href^=javascript]").count() == 0
    assert "\u202e" not in page.content()
