"""Open questions: answers at several multipliers, what they cost, and scores given without knowing the multiplier."""

import secrets
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from caa_core.app.forms import control
from caa_core.app.panels.common import (
    bar,
    busy,
    check_fit,
    download_buttons,
    events,
    guarded,
    layer_slider,
    misfits,
    plain,
    recommended,
    report_downloads,
    shared_bar,
    stoppable,
    vector_choices,
    vector_picker,
)
from caa_core.app.panels.contest.written import FILES, questions_of
from caa_core.app.panels.page import Page, Tab
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Person
from caa_core.data.presets import find_test_pairs, preset_behind, presets
from caa_core.errors import InputError
from caa_core.limits import PROMPT, TOKENS, is_public
from caa_core.measuring.answer_reader import held_out
from caa_core.measuring.judge import (
    HIGHEST,
    LOWEST,
    Judge,
    Ratings,
    blinded,
    in_words,
    judge_all,
    kept,
    scores_of,
    unblinded,
)
from caa_core.measuring.open_questions import OpenEnded, OpenQuestionsRequest, answer
from caa_core.metrics.grid import whole
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, showing
from caa_core.reports import markup
from caa_core.reports.open_questions import (
    LEVELS,
    REPLIES,
    SCORES,
    answers_by_multiplier,
    level_row,
    reply_row,
    report_of,
    score_rows,
    scores_by_multiplier,
)

PANEL, JUDGING = "open", "open-judge"
FIRST = "joy"
ABOUT = (
    "What does the model write to open questions at each multiplier, and what does it cost? KL and repetition of every "
    "answer, its perplexity under the unsteered model, and how far the behaviour is heard in it."
)
MEANING = (
    "Voice reading: the unsteered model reads the answer and its residual stream is projected on the vector; 1 is "
    "typical of held-out answers of this kind, −1 of plain ones, and above 0 it is heard. Intervals are over questions."
)
BLIND = (
    "Score answers from 0 to 10 for how much of the behaviour they show. They come in a shuffled order and without "
    "their multiplier; score before you look at the table above. Keys 0 to 9, and X for 10."
)
# The number keys press the buttons, unless somebody types into a field.
ON_KEYS = """
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest('input, textarea, [contenteditable]')) return;
  const score = event.key.toLowerCase() === 'x' ? '10' : event.key;
  if (!/^(\\d|10)$/.test(score)) return;
  const button = document.querySelector(`#open-score-${score}`);
  if (button && button.offsetParent && getComputedStyle(button).visibility !== 'hidden') button.click();
});
"""


class _Asking:
    """A judge's work, which needs no model of ours, as a job that Stop ends."""

    def __init__(self, work: Generator[Any, None, Any]):
        self._work, self._stop = work, threading.Event()

    def watch(self) -> Iterator[Any]:
        try:
            for event in self._work:
                if self._stop.is_set():
                    return
                yield event
        finally:
            self._work.close()

    def stop(self) -> None:
        self._stop.set()


def build(page: Page, tab: gr.Tab) -> Tab:
    """Draw the tab."""
    studio = page.studio
    start, _ = recommended(studio, FIRST)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            vector = vector_picker("Steering vector", FIRST, "open-vector")
            layer = layer_slider(studio, start, "open-layer")
            multipliers = control(OpenQuestionsRequest, "multipliers", elem_id="open-multipliers")
            preset = gr.Dropdown(
                [(f"{name} and {one.opposes}", name) for name, one in presets().items()],
                value=FIRST,
                label="Open questions of",
                elem_id="open-preset",
            )
            upload = _file("or questions of your own", "open-upload")
            with gr.Accordion("More settings", open=False, elem_id="open-settings"):
                limit = gr.Number(0, label="At most so many questions", info="0: all of them", precision=0)
                data = _file("Held-out answers of the behaviour (a preset brings its own)", "open-held-out")
                positions = control(OpenQuestionsRequest, "positions")
                system = control(
                    OpenQuestionsRequest, "system", lines=2, placeholder="The template's own, if it has one"
                )
                longest = min(512, TOKENS.value)
                tokens = control(OpenQuestionsRequest, "max_new_tokens", minimum=8, maximum=longest, step=8)
                temperature = control(OpenQuestionsRequest, "temperature", minimum=0, maximum=2, step=0.1)
                seed = control(OpenQuestionsRequest, "seed")
            with gr.Row():
                write = gr.Button("Write answers", variant="primary", size="md", min_width=90, elem_id="open-write")
                stop = gr.Button("Stop", variant="stop", size="md", min_width=60, elem_id="open-stop")
            status = gr.Markdown(elem_id="open-status")
        with gr.Column(scale=5, min_width=300):
            hint = gr.Markdown(ABOUT)
            with gr.Column(visible=False) as results:
                said = gr.Markdown(elem_id="open-said")
                plot = figure("By multiplier", "open-figure")
                numbers = gr.Markdown(elem_id="open-numbers", elem_classes="numbers")
                with gr.Row():
                    formats = {".json": "Report (JSON)", ".csv": "Answers (CSV)", ".html": "Report (HTML)"}
                    downloads = download_buttons("open", formats)
    with gr.Column(visible=False) as below:
        with gr.Accordion("All answers", open=False, elem_id="open-answers"):
            table = gr.Dataframe(
                headers=REPLIES,
                interactive=False,
                wrap=True,
                max_height=480,
                column_widths=["15%", "9%", "35%", "7%", "9%", "9%", "8%", "8%"],
                buttons=["fullscreen"],
                elem_id="open-table",
            )
        with gr.Accordion("Score them blind", open=False, elem_id="open-blind"):
            gr.Markdown(BLIND)
            shown = gr.HTML(elem_id="open-shown", container=True)
            with gr.Row():
                buttons = [
                    gr.Button(str(score), size="sm", min_width=40, elem_id=f"open-score-{score}")
                    for score in range(LOWEST, HIGHEST + 1)
                ]
            with gr.Row():
                back = gr.Button("Take the last one back", size="sm", min_width=120, elem_id="open-back")
                reveal = gr.Button("Show what they say", size="sm", min_width=120, elem_id="open-reveal")
            gr.HTML("", js_on_load=ON_KEYS)
            meant = gr.Markdown(elem_id="open-meant", elem_classes="numbers")
            with gr.Column(visible=False) as scored_box:
                scored = figure("Your scores by multiplier", "open-scores")
        with gr.Accordion("Have a judge score them", open=False, visible=not is_public(), elem_id="open-judging"):
            gr.Markdown(
                "A model behind an address that speaks OpenAI's API. It sees the description, the questions and the "
                "answers, shuffled and without their multiplier. The key is sent there and kept nowhere."
            )
            with gr.Row():
                address = gr.Textbox(label="Address", placeholder="https://api.openai.com/v1", elem_id="open-address")
                judge_model = gr.Textbox(label="Model", elem_id="open-judge-model")
                key = gr.Textbox(label="Key", type="password", elem_id="open-key")
            behaviour = gr.Textbox(
                presets()[FIRST].description, label="The behaviour that is scored", lines=2, elem_id="open-behaviour"
            )
            with gr.Row():
                consult = gr.Button("Ask the judge", variant="primary", size="md", min_width=90, elem_id="open-consult")
                hush = gr.Button("Stop", variant="stop", size="md", min_width=60, elem_id="open-hush")
            judged = gr.Markdown(elem_id="open-judged", elem_classes="numbers")
            with gr.Column(visible=False) as judged_box:
                ratings = figure("The judge's scores by multiplier", "open-ratings")

    def draw(person: Person, state: dict[str, Any]) -> dict:
        """Updates that show answers, and what is scored of them."""
        found = OpenEnded.of(state["found"])
        return {
            results: gr.Column(visible=True),
            below: gr.Column(visible=True),
            hint: gr.Markdown(visible=False),
            said: _words(found, state["notes"]),
            plot: answers_by_multiplier(found),
            numbers: _numbers(found),
            table: [reply_row(reply) for reply in found.replies],
            **files(person, state),
            **card(state),
            **verdict_of_judge(state),
        }

    def files(person: Person, state: dict[str, Any]) -> dict:
        found = OpenEnded.of(state["found"])
        scores = {who: scores_of(found.replies, state[who]["scores"]) for who in ("person", "judge")}
        return report_downloads(downloads, person, report_of(found, scores))

    def card(state: dict[str, Any]) -> dict:
        """The next answer to be scored."""
        replies = OpenEnded.of(state["found"]).replies
        scores = scores_of(replies, state["person"]["scores"])
        missing = [place for place in blinded(len(replies), state["seed"]) if place not in scores]
        done = f"{len(scores)} of {len(replies)} scored"
        if not missing:
            return {shown: f"<b>All {len(replies)} answers are scored.</b> Show what they say."}
        reply = replies[missing[0]]
        return {
            shown: f'<div style="opacity:.7">{done}</div><p><b>{markup.escaped(reply.question)}</b></p>'
            f'<p style="white-space:pre-wrap">{markup.escaped(reply.text) or "(nothing was written)"}</p>'
        }

    def verdict_of_judge(state: dict[str, Any]) -> dict:
        replies = OpenEnded.of(state["found"]).replies
        scores = scores_of(replies, state["judge"]["scores"])
        return _scores(replies, scores, judged, judged_box, ratings) if scores else {judged: ""}

    @guarded
    def run(request: gr.Request, name: str, at: float, levels: str, *values: Any) -> Iterator[dict]:
        source, file, count, given, where, told, length, heat, drawn, *_ = values
        session = studio.session(request.session_hash)
        person = session.person
        PROMPT.check(len(told or ""))
        TOKENS.check(whole(length, "The number of new tokens"))
        asked = OpenQuestionsRequest.parse(
            questions=questions_of(source, file, count),
            layer=at,
            multipliers=levels,
            positions=where,
            system=told,
            max_new_tokens=length,
            temperature=heat,
            seed=drawn,
        )
        answers = find_test_pairs(Path(given)) if given else None
        came = []
        form = [name, at, levels, source, None, count, None, where, told, length, heat, drawn]

        def work(model: SteerableModel) -> Generator[Any, None, None]:
            steering = yield from studio.vector(model, session, name)
            check_fit(model, steering)
            read_by = answers or preset_behind(steering.provenance.dataset_sha256)
            before = _kept(person)
            known = OpenEnded.of(before["found"]) if before else None
            writing = answer(model, steering, asked, held_out(read_by) if read_by else None, known)

            def keep(found: OpenEnded) -> OpenEnded:
                came.append(found)
                _remember(person, found, form, misfits(model, steering))
                return found

            keep((yield from showing(writing, keep)))

        yield {status: "Waiting for the model ...", **busy(write)}
        job = studio.run(work)
        for event in events(session, PANEL, job):
            if isinstance(event, Progress):
                yield {status: shared_bar(studio, event)}
            else:
                yield draw(person, person.results[PANEL])
        if job.stopped and not came:
            yield {status: "Stopped before anything was written."}
            return
        there = len(OpenEnded.of(person.results[PANEL]["found"]).questions)
        ended = f"Stopped after {there} of {len(asked.questions)} questions. Write again to go on from there."
        yield {status: ended if job.stopped else "", **draw(person, person.results[PANEL])}

    @guarded
    def restore(request: gr.Request) -> dict:
        session = studio.session(request.session_hash)
        if not (state := _kept(session.person)):
            return {status: gr.skip()}
        try:
            name, *rest = state["form"]
            form = {vector: gr.Dropdown(vector_choices(session), value=name)}
            form |= {part: value for part, value in zip(settings[1:], rest, strict=True) if part not in (upload, data)}
            return {**form, **draw(session.person, state)}
        except (TypeError, KeyError, ValueError) as error:
            raise InputError("The answers that were kept cannot be read.") from error

    @guarded
    def give(request: gr.Request, said: str) -> dict:
        person, state, replies = current(request)
        scores = scores_of(replies, state["person"]["scores"])
        missing = [place for place in blinded(len(replies), state["seed"]) if place not in scores]
        if not missing:
            return card(state)
        return store(person, state, kept(replies, {**scores, missing[0]: float(whole(int(said), "The score"))}))

    @guarded
    def undo(request: gr.Request) -> dict:
        person, state, _ = current(request)
        return store(person, state, state["person"]["scores"][:-1])

    @guarded
    def unblind(request: gr.Request) -> dict:
        person, state, replies = current(request)
        scores = scores_of(replies, state["person"]["scores"])
        return {**_scores(replies, scores, meant, scored_box, scored), **files(person, state)}

    @guarded
    def ask_judge(request: gr.Request, at: str, name: str, key: str, of: str) -> Iterator[dict]:
        person, state, replies = current(request)
        judge = Judge(at or "", key or "", name or "")
        about = {"behaviour": of or "", "model": judge.model, "address": judge.host}
        same = all(state["judge"].get(field) == value for field, value in about.items())
        known = {p: v for p, v in scores_of(replies, state["judge"]["scores"] if same else []).items() if v is not None}
        yield {judged: "Asking ...", **busy(consult)}
        session = studio.session(request.session_hash)
        scores = known
        try:
            for event in events(session, JUDGING, _Asking(judge_all(judge, of or "", replies, known=known))):
                progress, scores = event
                yield {judged: bar(progress)}
        finally:
            state = _kept(person)  # to which answers and scores may have come meanwhile
            state["judge"] = {**about, "scores": kept(replies, scores)}
            person.remember(PANEL, state)
        yield {**verdict_of_judge(state), **files(person, state)}

    def current(request: gr.Request) -> tuple[Person, dict[str, Any], tuple]:
        person = studio.session(request.session_hash).person
        if not (state := _kept(person)):
            raise InputError("There are no answers to score yet; write some first.")
        return person, state, OpenEnded.of(state["found"]).replies

    def store(person: Person, state: dict[str, Any], scores: list[dict[str, Any]]) -> dict:
        state["person"] = {"scores": scores}
        person.remember(PANEL, state)
        return card(state)

    @guarded
    def choose(request: gr.Request, name: str) -> list:
        at, _ = recommended(studio, name, studio.session(request.session_hash))
        return [at, name, presets()[name].description] if name in presets() else [at, gr.skip(), gr.skip()]

    silent = {"show_progress": "hidden", "api_visibility": "private"}
    settings = [vector, layer, multipliers, preset, upload, limit, data, positions, system, tokens, temperature, seed]
    drawn = [results, below, hint, said, plot, numbers, table, *downloads.values(), shown, judged, judged_box, ratings]
    writing = write.click(run, settings, [status, write, *drawn], **silent)
    stoppable(studio, PANEL, writing, write, stop, status, "It ended early; what had been written is kept.")
    page.restore(restore, [status, *settings, *drawn])
    vector.input(choose, vector, [layer, preset, behaviour], **silent)
    for button in buttons:
        button.click(give, button, [shown], **silent)
    back.click(undo, None, [shown], **silent)
    told = [meant, scored_box, scored, *downloads.values()]
    reveal.click(unblind, None, told, **silent)
    asking = consult.click(
        ask_judge,
        [address, judge_model, key, behaviour],
        [judged, judged_box, ratings, *downloads.values(), consult],
        **silent,
    )
    stoppable(studio, JUDGING, asking, consult, hush, judged, "It ended early; what had been scored is kept.")
    return Tab([vector], [layer])


def _file(label: str, elem_id: str) -> gr.File:
    return gr.File(label=label, file_types=FILES, height=130, elem_id=elem_id)


def _kept(person: Person) -> dict[str, Any] | None:
    """What the person had written, and its scores."""
    state = person.results.get(PANEL)
    return state if isinstance(state, dict) and {"found", "form", "person", "judge", "seed"} <= set(state) else None


def _remember(person: Person, found: OpenEnded, form: list[Any], notes: list[str]) -> None:
    """Keep answers, with the scores of those that were there before."""
    before = _kept(person) or {"person": {"scores": []}, "judge": {"scores": []}, "seed": secrets.randbits(31)}
    scores = {who: before[who] for who in ("person", "judge")}
    person.remember(PANEL, {"found": found.summary(), "form": form, "notes": notes, "seed": before["seed"], **scores})


def _scores(replies: tuple, scores: Ratings, said: gr.Markdown, box: gr.Column, plot: gr.Plot) -> dict:
    """Updates that show what scores come to."""
    means = unblinded(replies, scores)
    lines = [f"**{plain(in_words(means, list(scores.values()).count(None)))}**", ""]
    lines += [f"| {' | '.join(SCORES)} |", f"|{'---|' * len(SCORES)}"] if means else []
    lines += [f"| {' | '.join(map(plain, row))} |" for row in score_rows(means)]
    drawn = {plot: scores_by_multiplier(means)} if means else {}
    return {said: "\n".join(lines), box: gr.Column(visible=bool(means)), **drawn}


def _words(found: OpenEnded, notes: list[str]) -> str:
    about = f"{plain(found.vector)} on {plain(found.provenance['model'])}, layer {found.settings['layer']}"
    lines = [f"**{plain(found.verdict)}**", f"<small>{about}.</small>"]
    if found.reading:
        lines.append(f"<small>{plain(found.reading['text'])} {MEANING}</small>")
    return "\n\n".join([*lines, *notes])


def _numbers(found: OpenEnded) -> str:
    lines = [f"| {' | '.join(LEVELS)} |", f"|{'---|' * len(LEVELS)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(plain, level_row(level)))} |" for level in found.levels)])
