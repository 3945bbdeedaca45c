"""The page in German: nothing lacks, nothing raw is seen, what people and models wrote stays, and programs are answered
in English.
"""

import re
from string import Formatter

import gradio as gr
import pytest
from gradio.exceptions import Error
from gradio.state_holder import SessionState
from starlette.requests import Request

from app import build
from caa_core.app.opening.languages import leaving
from caa_core.app.opening.languages.catalogue import catalogue, stored
from caa_core.app.opening.languages.parts import properties, value
from caa_core.app.opening.languages.source import needed_and_known
from caa_core.app.studio import Studio
from tests.helpers.app import get
from tests.helpers.german import ENGLISH, in_german
from tests.helpers.handlers import Handlers
from tests.helpers.waiting import ran

GERMAN = {"accept-language": "de-DE,de;q=0.9,en;q=0.5"}


@pytest.fixture(scope="module")
def studio(tiny_folder):
    return Studio(tiny_folder, say=lambda _: None)


@pytest.fixture(scope="module")
def blocks(studio):
    page = build(studio).queue()
    leaving.speak(page)
    return page


@pytest.fixture(scope="module")
def german():
    return catalogue("de")


@pytest.fixture(scope="module")
def messages():
    return {entry.id: entry.string for entry in stored("de") if entry.id}


def test_nothing_lacks_a_translation_and_none_is_of_what_is_not_said_any_more(messages):
    """`python -m caa_core.app.opening.languages` puts both right, but for the words."""
    needed, known = needed_and_known()
    assert sorted(one for one in needed if not messages.get(one)) == []
    assert sorted({*messages} - known) == []


def test_each_sentence_is_found_whatever_its_values_are(messages, german):
    def filled(template):
        names = (name for _, name, *_ in Formatter().parse(source) if name)
        return template.format(**{name: str(number) for number, name in enumerate(names, 3)})

    assert len(messages) > 2000
    for source, said in messages.items():
        assert german.text(filled(source)) == filled(said)


@pytest.mark.parametrize(
    ("english", "said"),
    [
        # What people and models are called stays, also where it is a word of the page's own.
        ("The vector 'Layer' has no layer 9; it has 1, 2.", "Der Vektor 'Layer' hat keine Schicht 9; er hat 1, 2."),
        ("Steered with **Prompt**.", "Gesteuert mit **Prompt**."),
        # A value may be a sentence, and one sentence stands behind another.
        (
            "tiny: wrote 3 + 3 tokens in 1.0 s (6 a second, one batch, greedy). All columns are equal.  \n"
            "A vector of yours.",
            "tiny: schrieb 3 + 3 Token in 1.0 s (6 pro Sekunde, ein Batch, greedy). Alle Spalten sind gleich.  \n"
            "Ein eigener Vektor.",
        ),
        # As Markdown and HTML write it.
        (
            "**That did not work.** Give at least one multiplier, and only finite numbers.",
            "**Das ging nicht.** Mindestens einen Multiplikator angeben, und nur endliche Zahlen.",
        ),
        (
            "joy\\-2 has no layer 9: its layers are 0 to 3.",
            "joy\\-2 hat keine Schicht 9: die Schichten sind 0 bis 3.",
        ),
        (
            "The layers 3\\-1 run backwards: write 1\\-3.",
            "Die Schichten 3\\-1 laufen rückwärts: 1\\-3 schreiben.",
        ),
        ('<span title="light"></span>', '<span title="leicht"></span>'),
        ("<li>Layer: 12</li><li title='Stop'>&lt;b&gt;</li>", "<li>Schicht: 12</li><li title='Stopp'>&lt;b&gt;</li>"),
        (
            '<p translate="no">Stop <mark>Layer</mark></p><p>Stop</p>',
            '<p translate="no">Stop <mark>Layer</mark></p><p>Stopp</p>',
        ),
        (
            '**This app**\n\n````python\nfrom a import Client\n```\n"Layer": "Stop"\n````\n\nStop',
            '**Diese App**\n\n````python\nfrom a import Client\n```\n"Layer": "Stop"\n````\n\nStopp',
        ),
        ("| Layer | joy |\n|---|---|\n| Stop | 3 |", "| Schicht | joy |\n|---|---|\n| Stopp | 3 |"),
        (
            "letters that are none of the options \\(8 pairs: 1, 2, 3, 4, 5, ...\\).",
            "Buchstaben, die keine der Optionen sind \\(8 Paare: 1, 2, 3, 4, 5, ...\\).",
        ),
        (
            "These pairs were read as CSV with frage as prompt, answer as positive, wrong as negative.",
            "Diese Paare wurden gelesen als CSV mit frage als Prompt, answer als positiv, wrong als negativ.",
        ),
        ("**SmolLM2-135M-Instruct (embedded)**", "**SmolLM2-135M-Instruct (mitgeliefert)**"),
        (
            "multiplier (pale, marked ≈: estimated, not measured yet) (outlined: proposed)",
            "Multiplikator (blass, mit ≈: geschätzt, noch nicht gemessen) (umrandet: vorgeschlagen)",
        ),
        (
            "tiny: wrote 80 + 80 + 80 + 80 tokens in 0.4 s (867 a second, one batch, greedy).",
            "tiny: schrieb 80 + 80 + 80 + 80 Token in 0.4 s (867 pro Sekunde, ein Batch, greedy).",
        ),
        (
            "Δ of joy is -0.02 (-0.04 to +0.01), to first order -0.02; of 999 vectors at random 95% lie within "
            "-0.02 to +0.02 (p = 0.148).",
            "Δ von joy ist -0.02 (-0.04 bis +0.01), in erster Ordnung -0.02; von 999 zufälligen Vektoren liegen 95% "
            "innerhalb von -0.02 bis +0.02 (p = 0.148).",
        ),
        (
            "No voice is named: the reading has an AUC under 0.8 for joy against plain answers 0.64 (0.38 to 0.85), "
            "joy against gloom 0.65 (0.46 to 0.81).",
            "Keine Stimme wird genannt: die Lesung hat eine AUC unter 0.8 für joy gegen schlichte Antworten 0.64 (0.38 "
            "bis 0.85), joy gegen gloom 0.65 (0.46 bis 0.81).",
        ),
        (r"| Multiplier of A | \-0.02 \(\-0.04 to +0.01\) |", r"| Multiplikator von A | \-0.02 \(\-0.04 bis +0.01\) |"),
        ("20%: 3 of 10 items, about 5 s left", "20%: 3 von 10 Items, noch etwa 5 s"),
        ("What nobody wrote here stays as it is.", "What nobody wrote here stays as it is."),
    ],
)
def test_sentences_in_german(german, english, said):
    assert german.text(english) == said


def test_what_was_written_stays(german):
    answer, how = {"role": "assistant", "content": "Stop"}, {"title": "Unsteered", "status": "done"}
    chat = [answer, {"role": "assistant", "content": "up to 8 new tokens, greedy, steered all", "metadata": how}]
    said = value("chatbot", chat, german)
    assert said[0] == answer and said[1]["metadata"]["title"] == "Ungesteuert"
    assert said[1]["content"] == "bis zu 8 neue Token, greedy, gesteuert all"
    assert properties("textbox", {"value": "Stop", "label": "Prompt"}, german)["value"] == "Stop"
    assert properties("dropdown", {"choices": [("Stop", "Stop")]}, german)["choices"] == [("Stopp", "Stop")]
    table = {"headers": ["written under", "answer"], "data": [["unsteered", "unsteered"]]}
    assert value("dataframe", table, german) == {
        "headers": ["geschrieben unter", "Antwort"],
        "data": [["ungesteuert", "unsteered"]],
    }


@pytest.mark.parametrize(
    ("accepts", "asks", "language"),
    [
        ("de-DE,de;q=0.9,en;q=0.5", "", "de"),
        ("en-GB,de;q=0.9", "", "en"),
        ("fr,de;q=0.4,en;q=0.2", "", "de"),
        ("ja", "", "en"),
        ("", "", "en"),
        ("en", "DE", "de"),
        ("de", "en", "en"),
        ("de", "xx", "de"),
        (";q=,,=;de;;q", "", "de"),
    ],
)
def test_the_language_is_what_the_address_asks_for_else_what_the_browser_prefers(accepts, asks, language):
    assert leaving.language_of({"accept-language": accepts}, {"lang": asks} if asks else {}) == language


def test_every_tab_is_in_german(studio, blocks):
    page = Handlers(studio, blocks, "german")
    page.call("enter", "steer-steered")
    page.parts.open_all()
    said = in_german(page)
    assert len(said) > 1000
    assert [text for text in said if re.search(r"(?<![%{$])\{\w+\}|__i18n__", text)] == []
    assert [text for text in said if ENGLISH.search(text)] == []


def asked(blocks, fn, inputs, headers, query=b""):
    """What a browser gets that sends an event, as plain data; raises what it is told went wrong."""
    scope = {"type": "http", "query_string": query, "headers": [(k.encode(), v.encode()) for k, v in headers.items()]}
    request = gr.Request(request=Request(scope), session_hash="german-asks")
    event = {"block_fn": fn, "inputs": inputs, "request": request, "session_hash": "x"}
    return ran(blocks.process_api(**event, state=SessionState(blocks)))


def test_events_of_the_page_are_answered_in_german_and_programs_in_english(studio, blocks):
    by_page = next(fn for fn in blocks.fns.values() if fn.name == "retry")
    holds = [None if isinstance(part, gr.State) else getattr(part, "value", None) for part in by_page.inputs]
    for headers, query, said in [(GERMAN, b"", "Es gibt noch nichts zu wiederholen"), (GERMAN, b"lang=en", "There is")]:
        with pytest.raises(Error, match=said) as failed:
            asked(blocks, by_page, holds, headers, query)
        assert failed.value.title == ("That did not work" if query else "Das ging nicht")
    by_program = next(fn for fn in blocks.fns.values() if fn.api_name == "steer")
    with pytest.raises(Error, match="has no layer 12; it has layers 0 to 3"):
        asked(blocks, by_program, [part.value for part in by_program.inputs], GERMAN)


def test_an_update_comes_in_german(blocks):
    fn = next(fn for fn in blocks.fns.values() if fn.name == "vector_chosen")
    card, _, chat = asked(blocks, fn, ["joy", (), ""], GERMAN)["data"]
    assert card.startswith("Antworten voller Freude, gegen schlichte. Gegenteil: *gloom*.")
    assert chat["label"] == "Gesteuert mit joy"


def test_a_tab_that_is_drawn_later_comes_in_german(blocks):
    *_, models = (fn for fn in blocks.fns.values() if fn.renderable)
    drawn = asked(blocks, models, [0] * len(models.inputs), GERMAN)["render_config"]
    labels = {part["props"].get("label") for part in drawn["components"]}
    assert {"Präzision", "Wo es läuft"} <= labels and "Precision" not in labels


def test_the_page_is_served_in_the_language_that_is_asked_for(tiny_app):
    text = get(f"{tiny_app.url}?lang=de").text
    assert '<html\n\tlang="de"' in text and "Steuervektor" in text and '"Steering vector"' not in text
    assert "Residualstrom" in text  # in the glossary's script
    assert 'lang="de"' in get(tiny_app.url, headers=GERMAN).text
    english = get(f"{tiny_app.url}?lang=en", headers=GERMAN).text
    assert '<html\n\tlang="en"' in english and "Steering vector" in english and "Steuervektor" not in english
    assert "Steering vector" in get(f"{tiny_app.url}config", headers=GERMAN).text  # which programs read
