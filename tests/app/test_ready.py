"""What the page shows before anything was run is what a run on the embedded model gives.

Numbers agree but for rounding. Of an answer that was written, each token is the likeliest one behind those before it,
which is what greedy decoding writes, or ties with it: so this holds on machines that round otherwise, too.
"""

import re
from dataclasses import replace
from statistics import fmean

import pytest
import torch

from caa_core.app.opening.ready import MADE_BEFORE, contests, ready, ready_file
from caa_core.app.panels.learn.lesson import built_in
from caa_core.app.panels.made_with import differing
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.contest.dominance import Contest
from caa_core.contest.runs import run
from caa_core.data.presets import presets
from caa_core.measuring.evaluation import evaluate
from caa_core.metrics.plain_data import plain
from caa_core.model.prompts import ask
from caa_core.progress import finish
from caa_core.reports.contest import how_much
from caa_core.steering.interventions import Positions, Steer
from caa_core.steering.passes import logits_of, watch
from caa_core.steering.plan import Plan
from caa_core.steering.scoring import score
from caa_core.vectors.method_comparison import compare
from caa_core.vectors.vector import load_vector
from presets.build_ready import FIRST, NAMES, OF_LESSON, OTHERS, asked_of, drawn, fresh
from tests.helpers.handlers import Handlers
from tests.helpers.sizes import FULL
from tests.helpers.waiting import until

pytestmark = pytest.mark.long

# Of contests that are a click away, those that were measured.
MADE = [*NAMES, *OF_LESSON, *(name for name in OTHERS if name not in OF_LESSON and ready_file(name).exists())]
# In nats, and of numbers beside their size.
TIE = 0.01
ROUNDING = 0.01
NOTHING_ADDED = {"add_special_tokens": False}


@pytest.fixture(scope="module")
def studio(embedded, tiny_folder, gradio_files):
    studio = Studio(tiny_folder, say=lambda _: None)
    until(lambda: studio.capability)  # what follows is on this thread, and nothing else may run a model meanwhile
    studio.model = embedded
    return studio


@pytest.fixture(scope="module")
def experiments(studio):
    return drawn(studio)


@pytest.fixture
def session():
    return Session()


@pytest.mark.parametrize("name", MADE)
def test_each_was_made_with_what_is_asked_of_it(experiments, embedded, session, name):
    kept, one = ready(name, embedded), experiments[OTHERS.get(name, name)]
    begins = one.settings(session, asked_of(one, name))
    assert begins.keys() == kept["asked"].keys() - {MADE_BEFORE} and not differing(kept["asked"], begins)
    said = kept["asked"][MADE_BEFORE]
    assert (said["model"], said["dtype"]) == ("smollm2-135m", "float32") and len(said["commit"]) >= 7


def test_they_are_small_and_of_the_embedded_model_alone(embedded, tiny_llama):
    assert sum(ready_file(name).stat().st_size for name in MADE) < 300_000
    assert not any(ready(name, tiny_llama) for name in MADE)


def test_a_newcomer_sees_them_until_there_is_one_of_their_own(studio):
    page = Handlers(studio)
    page.call("enter", "steer-steered")
    marks = {name: f"{name}-made" for name in NAMES} | {
        name: f"{name}-before" for name in ("steer", "compete", "generate")
    }
    for name, place in marks.items():
        said = page[place]
        assert "<b>Made before</b> (on smollm2-135m in float32, commit " in said and "<li>" in said, name
        assert "what you run takes its place" in said, name  # so it is what the form holds
    (exchange,) = ready("steer", studio.model)["exchanges"]
    assert [page[f"steer-{column}"][-1]["content"] for column in ("unsteered", "steered")] == exchange["answers"]
    for figure in ("generate-plot", "compete-verdict-apart", "measure-map", "study-dots", "open-figure", "views-next"):
        assert page[figure]
    assert "each beside 2 random vectors" in page["study-size"]
    assert page["behaviours-said"].startswith("#### What was found") and "joy" in page["behaviours-said"]
    assert not page.parts["open-scoring"].visible  # it is nobody's, so nobody scores it
    assert "An effect on this model" in page["measure-verdict"] and page["views-alignment"]
    assert page.session.person.has_nothing  # no files either
    # Along the sliders stands what the card knows.
    page.run("measure", "steer-strength")
    assert "Strong" in page["steer-strength"] and "Safe: -1 to 1.5." in page["steer-strength"]
    assert "to first order, on 18 prompts" in page["steer-effect"]
    # Compete's form is that of a contest that is one.
    assert [page[f"compete-{part}"] for part in ("a-vector", "b-vector", "verdict-contest")] == [
        FIRST[name] for name in ("vector_a", "vector_b", "contest")
    ]
    assert ready("compete-verdict", studio.model)["contest"]
    # What is chosen otherwise is said, as of one's own; and the map does what one's own does.
    one = page.experiment("views")
    chosen = {**asked_of(one), "layer": 13}
    said = one.look(page.session, [*chosen.values()])
    assert re.search(r"Made before</b> \(on .*\) with other settings: Layer <b>12</b>, now 13\. Run again", said)
    drawn_first = page["measure-map"]
    page.call("again", "measure-map", measure_shown="Cost (KL)")
    assert page["measure-map"] != drawn_first
    vector, layer, multiplier = page.call("choose", "steer-multiplier", measure_layer=13, measure_multiplier=1)
    assert (vector, layer, multiplier.value) == ("joy", 13, 1)
    page.call("one_by_one", "measure-items", measure_layer=13, measure_multiplier=1.0)
    assert page["measure-items"]
    # No chat goes on from what was there before.
    page.fill("steer-settings", "New tokens", 8)
    page.run("run", "steer-status")
    assert page["steer-before"] == "" and [one["role"] for one in page["steer-unsteered"]] == ["user", "assistant"]
    again = page.reloaded()
    again.call("enter", "steer-steered")
    assert again["steer-unsteered"] == page["steer-unsteered"] and not again["steer-before"]


def test_contests_that_are_ready_bring_what_came_of_them(studio):
    page = Handlers(studio, name="chooser")
    offered = page.parts["compete-ready"]
    names = [name for (name,) in offered.samples]
    known = [name for name in names if ready(contests()[name][0], studio.model)]
    sizes = [how_much(Contest.of(ready(contests()[name][0], studio.model))) for name in known]
    assert len(names) == 5 and names[: len(known)] == known
    assert sizes == sorted(sizes, reverse=True) and sizes[0][0] and len(sizes) > 1
    said = ": .*(ahead|only .* is heard|neither is heard|not decided|no contest)"
    for name, label in zip(names, offered.sample_labels, strict=True):
        assert re.fullmatch(f"{name} against .*{said if name in known else ''}", label)
    for name in known[1:]:
        verdict, answers = (ready(kind, studio.model) for kind in contests()[name])
        page.call("choose", "compete-verdict-said", compete_ready=[name])
        assert (page["compete-a-vector"], page["compete-verdict-contest"]) == (name, name)
        found = Contest.of(verdict)
        assert found.verdict.startswith(found.headline) and found.headline in page["compete-verdict-said"]
        assert "Made before" in page["compete-verdict-made"]
        columns = [[one["content"] for one in page[f"compete-{column}"]][-1:] for column in ("a", "b")]
        assert columns == ([[text] for text in answers["exchanges"][0]["answers"][1:3]] if answers else [[], []])
        assert page["compete-prompt"] == answers["asked"]["question"]
    # What somebody has typed or written stays.
    page.held[page.parts["compete-prompt"]] = "And the sea?"
    page.call("choose", "compete-verdict-said", compete_ready=["french"])
    assert page["compete-prompt"] == "And the sea?"
    page.session.person.remember("compete", {"exchanges": ready("compete", studio.model)["exchanges"]})
    written = page["compete-both"]
    page.call("choose", "compete-verdict-said", compete_ready=["formal"])
    assert page["compete-a-vector"] == "formal" and page["compete-both"] == written


def test_the_steps_of_the_lesson_wait_for_nothing(studio):
    page, shown = Handlers(studio, name="learner"), []
    for _ in built_in().steps:
        page.call("keep_prediction", "learn-result", learn_choice=0)
        shown.append("Made before, on smollm2-135m in float32" in page["learn-result"].replace("\\", ""))
        page.call("step_on", "learn-score")
    assert shown == [True] * 8
    assert {*page.session.person.results} == {"learn"}


def last_tokens(model, text, steers, positions, answer):
    """Ids of an answer, and log-probabilities [tokens, vocabulary] where each of them was to be written."""
    prompt, words = ask(model.tokenizer, text), answer.rstrip("\n")
    # Of a text, two new lines at its end would be one token.
    ids = [id for part in (words, *answer[len(words) :]) for id in model.tokenizer(part, **NOTHING_ADDED).input_ids]
    assert model.tokenizer.decode(ids) == answer
    inputs = model.plain_inputs([*prompt.ids, *ids])
    plan = Plan([steers], [Positions.parse(positions)], [prompt.length])
    streams = watch(model, inputs, plan, [model.num_layers - 1], slice(prompt.length - 1, None))
    return torch.tensor(ids), logits_of(model, streams[0, 0]).log_softmax(-1)


@pytest.mark.parametrize("name", ["steer", "compete", *(name for name in MADE if "answers" in name)])
def test_answers_are_those_that_greedy_decoding_writes(experiments, embedded, session, name):
    one, (exchange,) = experiments[OTHERS.get(name, name)], ready(name, embedded)["exchanges"]
    asked = one.ask(session, asked_of(one, name))
    voices = finish(one.prepare(embedded, session, asked.form))
    assert exchange["question"] == asked.prompt and not asked.temperature
    assert exchange["captions"][: len(voices.captions)] == list(voices.captions)
    for column, (steers, told, begins) in enumerate(voices.columns):
        assert not told and not begins
        if name in OTHERS and column < len(voices.columns) - 1 and not FULL:
            continue  # of contests that are a click away, what was written under both
        answer, done = exchange["answers"][column], exchange["done"][column]
        ids, logp = last_tokens(embedded, asked.prompt, steers, str(asked.positions), answer)
        best = logp.max(-1).values
        assert (best[:-1] - logp[torch.arange(len(ids)), ids]).max() < TIE
        if done:
            assert best[-1] - logp[-1, list(embedded.end_tokens)].max() < TIE
        else:
            assert len(ids) == asked.max_new_tokens
    assert len(set(exchange["answers"][: len(voices.columns)])) == len(voices.columns)


def test_the_vector_is_made_from_what_is_asked_for(experiments, embedded, session):
    """That it equals a fresh extraction is shown in `tests/data/test_presets.py`."""
    one = experiments["generate"]
    request = one.ask(session, asked_of(one)).request
    made = load_vector(presets()[ready("generate", embedded)["vector"]].vector_file)
    assert not made.differences(embedded)
    assert made.provenance.pairs_sha256 == request.pairs.pairs_sha256
    assert (made.provenance.method, list(made.layers)) == (request.method, request.layers_in(embedded.num_layers))


def test_methods_of_the_lesson_are_what_a_run_finds(experiments, embedded, session):
    kept, one = ready("generate-compare", embedded), experiments["generate-compare"]
    request, layers = one.ask(session, asked_of(one)), kept["layers"] if FULL else [4]
    found = finish(compare(embedded, request.pairs, layers, request.read))
    methods = ("mean-difference", "single")  # which the lesson reads
    for name in methods:
        agree([kept["separations"][name][layer] for layer in layers], [vars(one) for one in found.separations[name]])
    (line,) = (line for *pair, line in kept["cosines"] if {*pair} == {*methods})
    agree([line[layer] for layer in layers], found.cosines[methods])


def numbers(data):
    """All numbers of plain data, in order."""
    if isinstance(data, dict):
        return [number for name in sorted(data) for number in numbers(data[name])]
    if isinstance(data, list | tuple):
        return [number for one in data for number in numbers(one)]
    return [data] if isinstance(data, int | float) and not isinstance(data, bool) else []


def agree(kept, found):
    assert numbers(kept) == pytest.approx(numbers(found), rel=ROUNDING, abs=ROUNDING)


def test_what_is_seen_inside_is_what_a_run_finds(experiments, embedded):
    kept, found = ready("views", embedded), fresh(experiments["views"])
    assert kept["notes"] == found["notes"] and kept["alignment"]["tokens"] == found["alignment"]["tokens"]
    assert kept["lens"]["finals"] == found["lens"]["finals"]
    for name in ("alignment", "next_token", "lens", "unembedding"):
        agree(kept[name], found[name])


def measured_again(embedded, request):
    """The request's vector on its items in whole, or on the first two alone."""
    few = request if FULL else replace(request, data=request.data.first(2), controls=0, prompts=False)
    return finish(evaluate(embedded, few, load_vector(presets()["joy"].vector_file))).summary()


def agree_by_item(kept, found):
    """Each item's number is that of the run, and those of the cells are their means."""
    here, there = kept["by_item"], found["by_item"]
    count, cells = len(there["items"]), {(cell["layer"], cell["multiplier"]): cell for cell in kept["cells"]}
    steered = {(cell["layer"], cell["multiplier"]): cell["values"] for cell in here["steered"]}
    assert here["items"][:count] == there["items"] and steered.keys() == cells.keys()
    agree(here["unsteered"][:count], there["unsteered"])
    for cell in there["steered"]:
        agree(steered[cell["layer"], cell["multiplier"]][:count], cell["values"])
    for place, values in steered.items():
        cell = cells[place]
        agree(fmean(values), cell["preference"] if cell["swapped"] is None else cell["swapped"])
    if FULL:
        agree(kept["unsteered"], found["unsteered"])
        agree(kept["cells"], found["cells"])


def test_cells_of_the_map_are_what_a_run_finds(experiments, embedded, session):
    kept = ready("measure", embedded)["found"]
    one, few = experiments["measure"], {} if FULL else {"layers": "19", "multipliers": "1"}
    found = measured_again(embedded, one.ask(session, asked_of(one) | few).request)
    assert len(kept["cells"]) == 50
    agree_by_item(kept, found)
    if FULL:
        assert kept["verdict"]["text"].split(":")[0] == found["verdict"]["text"].split(":")[0]
        agree(kept["best"], found["best"])


def test_letters_of_the_lesson_are_what_a_run_finds(experiments, embedded, session):
    kept, one, name = ready("lesson-verdict", embedded)["found"], experiments["measure"], "lesson-verdict"
    found = measured_again(embedded, one.ask(session, asked_of(one, name)).request)
    agree_by_item(kept, found)
    if FULL:
        assert kept["verdict"]["grade"] == found["verdict"]["grade"]


def test_changes_of_the_study_are_what_a_run_finds(experiments, embedded, session):
    joy, kept, one = presets()["joy"], ready("study", embedded)["found"], experiments["study"]
    request = one.ask(session, asked_of(one))
    (row,) = (row for row in kept["rows"] if row["arm"] == plain(request.base))
    assert (request.base.positions, request.base.cue) == ("after-prompt", "none")
    # Its vector is the one that ships, since as many pairs are read at the same place.
    steer = Steer(load_vector(joy.vector_file).at(row["layer"]), row["layer"], row["multiplier"])
    few = request.items.pairs if FULL else request.items.pairs[:4]
    scores = finish(score(embedded, few, [(steer,)]))
    changes = (scores.preference[1] - scores.preference[0]).double()
    agree(row["changes"][: len(few)], changes.tolist())
    assert fmean(row["changes"]) == pytest.approx(row["difference"], abs=ROUNDING)


def test_effects_of_behaviours_are_what_a_run_finds(experiments, embedded):
    """Their vectors are those that ship, as all pairs are read."""
    count = asked_of(experiments["behaviours"])["items"]
    for kept in ready("behaviours", embedded)["found"]["findings"][: None if FULL else 1]:
        preset, layer = presets()[kept["name"]], kept["layer"]
        (cell,) = (one for one in kept["curve"] if one["multiplier"] == 1)
        steer = Steer(load_vector(preset.vector_file).at(layer), layer, 1.0)
        scores = finish(score(embedded, preset.test().pairs[:count], [(steer,)]))
        changes = (scores.preference[1] - scores.preference[0]).double()
        agree([cell["difference"], cell["kl"]], [changes.mean().item(), scores.kl[1].mean().item()])


def test_answers_to_open_questions_are_those_that_greedy_decoding_writes(experiments, embedded, session):
    kept, one = ready("open", embedded)["found"], experiments["open"]
    request = one.ask(session, asked_of(one)).request
    assert not request.temperature and {reply["question"] for reply in kept["answers"]} == {*request.questions}
    vector = load_vector(presets()["joy"].vector_file)
    for reply in kept["answers"][: len(request.multipliers) : 2]:
        steers = (Steer(vector.at(request.layer), request.layer, reply["multiplier"]),)
        ids, logp = last_tokens(embedded, reply["question"], steers, str(request.positions), reply["text"])
        best = logp.max(-1).values
        assert (best[:-1] - logp[torch.arange(len(ids)), ids]).max() < TIE


@pytest.mark.parametrize("name", ["compete-verdict", *(name for name in MADE if "contest" in name)])
def test_both_voices_do_to_answers_what_a_run_finds(experiments, embedded, session, name):
    kept, one = ready(name, embedded), experiments["compete-verdict"]
    asked = one.ask(session, asked_of(one, name))
    a, b = finish(one.voices.voicing.both(embedded, session, asked.voices))
    first = replace(asked.request.data, pairs=asked.request.data.pairs[:1])
    few = {"data": first, "controls": 0, "second_voices": 0, "written_tokens": 0}
    found = finish(run(embedded, asked.request if FULL else replace(asked.request, **few), a, b))
    agree(kept["rows"][: len(found["rows"])], found["rows"])
    if FULL:
        assert (kept["contest"], kept["voice_a"]["grade"]) == (found["contest"], found["voice_a"]["grade"])
        for name in ("kl", *(name for name in found if name.startswith(("delta", "interaction")))):
            agree(kept[name], found[name])
