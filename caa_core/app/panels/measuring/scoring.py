"""Scores of answers to open questions, given without knowing the multiplier: by the person, and by a judge."""

import secrets
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block

from caa_core.app.panels.common import (
    QUIET,
    Updates,
    bar,
    download_buttons,
    guarded,
    markdown_table,
    plain,
    report_downloads,
)
from caa_core.app.panels.controls import run_buttons
from caa_core.app.panels.experiment import Experiment, Plain, Run
from caa_core.app.panels.layout import folded
from caa_core.app.panels.page import Page
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Person, Session
from caa_core.app.worker import Job, apart
from caa_core.errors import InputError
from caa_core.limits import is_public
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
from caa_core.measuring.open_questions import OpenQuestions, Reply
from caa_core.metrics.grid import whole
from caa_core.progress import Progress
from caa_core.reports import markup
from caa_core.reports.open_questions import SCORES, report_of, score_rows, scores_by_multiplier

# The name under which answers are kept, and who scores them.
ANSWERS = "open"
PERSON, JUDGE = "person", "judge"
BLIND = folded(
    "How much of the behaviour does each answer show, from 0 to 10? Keys 0 to 9, and X for 10.",
    "They come in a shuffled order and without their multiplier; score before you look at the table above.",
)
JUDGED = folded(
    "A model behind an address that speaks OpenAI's API scores the answers. Your key is sent there and kept nowhere.",
    "It sees the description, the questions and the answers, shuffled and without their multiplier.",
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


@dataclass(frozen=True)
class Scored:
    """Answers that were written, and what is kept of each who scored them: `scores`, and of a judge, what it was asked.
    seed: of the order in which they are shown.
    """

    found: OpenQuestions
    seed: int
    given: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, kept: Any) -> "Scored":
        """Of what is kept. Raises InputError for anything else."""
        if not isinstance(kept, dict) or not {"found", "seed", PERSON, JUDGE} <= kept.keys():
            raise InputError("There are no answers to score yet; write some first.")
        return cls(OpenQuestions.of(kept["found"]), kept["seed"], {who: kept[who] for who in (PERSON, JUDGE)})

    @classmethod
    def by(cls, person: Person) -> "Scored":
        """What the person has. Raises InputError where they have none."""
        return cls.of(person.results.get(ANSWERS))

    @property
    def replies(self) -> Sequence[Reply]:
        return self.found.replies

    def scores(self, who: str) -> dict[int, float | None]:
        """By place of the answer."""
        return scores_of(self.replies, self.given[who]["scores"])

    @property
    def unscored(self) -> list[int]:
        """Places of the answers that the person has not scored, in the order in which they are shown."""
        there = self.scores(PERSON)
        return [place for place in blinded(len(self.replies), self.seed) if place not in there]


def unscored(person: Person) -> Plain:
    """What is kept with new answers: the scores of those that were there before."""
    before = person.results.get(ANSWERS)
    if isinstance(before, dict) and {"seed", PERSON, JUDGE} <= before.keys():
        return {name: before[name] for name in ("seed", PERSON, JUDGE)}
    return {"seed": secrets.randbits(31), PERSON: {"scores": []}, JUDGE: {"scores": []}}


def keep_scores(person: Person, who: str, given: Mapping[str, Any]) -> Plain:
    """Keep what somebody gave beside the answers, to which others may have come meanwhile. Returns what is kept."""
    if ANSWERS not in person.results:
        raise InputError("The answers had to make room for something else; write them again.")
    now = {**person.results[ANSWERS], who: dict(given)}
    person.remember(ANSWERS, now)
    return now


class AnswerFiles:
    """Buttons that download the answers with their scores."""

    def __init__(self) -> None:
        formats = {".json": "Report (JSON)", ".csv": "Answers (CSV)", ".html": "Report (HTML)"}
        self.buttons = download_buttons("open", formats)

    def show(self, session: Session, scored: Scored) -> Updates:
        scores = {who: scored.scores(who) for who in (PERSON, JUDGE)}
        return report_downloads(self.buttons, session, report_of(scored.found, scores))


class ScoresShown:
    """What scores come to."""

    def __init__(self, said_id: str, label: str, figure_id: str):
        self.said = gr.Markdown(elem_id=said_id, elem_classes="numbers")
        with gr.Column(visible=False) as self.box:
            self.figure = figure(label, figure_id)
        self.parts: list[Block] = [self.said, self.box, self.figure]

    def show(self, replies: Sequence[Reply], scores: Ratings) -> Updates:
        means = unblinded(replies, scores)
        lines = [f"**{plain(in_words(means, list(scores.values()).count(None)))}**", ""]
        drawn: Updates = {}
        if means:
            lines += [markdown_table(SCORES, score_rows(means))]
            drawn = {self.figure: scores_by_multiplier(means)}
        return {self.said: "\n".join(lines), self.box: gr.Column(visible=bool(means)), **drawn}


class BlindScoring:
    """One answer after the other, to be scored by the person."""

    def __init__(self, page: Page, files: AnswerFiles):
        self.page, self.files = page, files
        with gr.Accordion("Score them blind", open=False, elem_id="open-blind"):
            gr.Markdown(BLIND)
            self.shown = gr.HTML(elem_id="open-shown", container=True)
            with gr.Row():
                buttons = [
                    gr.Button(str(score), size="sm", min_width=40, elem_id=f"open-score-{score}")
                    for score in range(LOWEST, HIGHEST + 1)
                ]
            with gr.Row():
                back = gr.Button("Take the last one back", size="sm", min_width=120, elem_id="open-back")
                reveal = gr.Button("Show what they say", size="sm", min_width=120, elem_id="open-reveal")
            gr.HTML("", js_on_load=ON_KEYS)
            self.meant = ScoresShown("open-meant", "Your scores by multiplier", "open-scores")
        for button in buttons:
            button.click(self.give, button, [self.shown], **QUIET)
        back.click(self.take_back, None, [self.shown], **QUIET)
        reveal.click(self.reveal, None, [*self.meant.parts, *files.buttons.values()], **QUIET)

    def show(self, scored: Scored) -> Updates:
        """Updates that show the next answer to be scored."""
        count, left = len(scored.replies), scored.unscored
        if not left:
            return {self.shown: f"<b>All {count} answers are scored.</b> Show what they say."}
        reply = scored.replies[left[0]]
        text = markup.escaped(reply.text) or "(nothing was written)"
        return {
            self.shown: f'<div style="opacity:.7">{count - len(left)} of {count} scored</div>'
            f"<p><b>{markup.escaped(reply.question)}</b></p>"
            f'<p style="white-space:pre-wrap">{text}</p>'
        }

    @guarded
    def give(self, request: gr.Request, said: str) -> Updates:
        person = self.page.session(request).person
        scored = Scored.by(person)
        if not scored.unscored:
            return self.show(scored)
        given = {**scored.scores(PERSON), scored.unscored[0]: float(whole(int(said), "The score"))}
        return self._kept(person, kept(scored.replies, given))

    @guarded
    def take_back(self, request: gr.Request) -> Updates:
        person = self.page.session(request).person
        return self._kept(person, Scored.by(person).given[PERSON]["scores"][:-1])

    @guarded
    def reveal(self, request: gr.Request) -> Updates:
        session = self.page.session(request)
        scored = Scored.by(session.person)
        return {**self.meant.show(scored.replies, scored.scores(PERSON)), **self.files.show(session, scored)}

    def _kept(self, person: Person, scores: Sequence[Mapping[str, Any]]) -> Updates:
        return self.show(Scored.of(keep_scores(person, PERSON, {"scores": list(scores)})))


@dataclass(frozen=True)
class Judging:
    """A judge, the behaviour that it scores, and the answers with what it has said of them before."""

    judge: Judge
    behaviour: str
    replies: Sequence[Reply]
    known: Mapping[int, float | None]

    @property
    def about(self) -> dict[str, str]:
        """What scores depend on, but the answers."""
        return _about(self.judge, self.behaviour)


class JudgePanel(Experiment[Judging]):
    """A model that scores the answers; what it says is kept beside them, and shown again with them."""

    name = "open-judge"
    says_settings = False  # what was asked stands with the scores
    after_error = "It ended early; what had been scored is kept."

    def __init__(self, page: Page, files: AnswerFiles, behaviour: str):
        """behaviour: the description that is filled in."""
        self.files_shown = files
        with gr.Accordion("Have a judge score them", open=False, visible=not is_public(), elem_id="open-judging"):
            gr.Markdown(JUDGED)
            with gr.Row():
                address = gr.Textbox(label="Address", placeholder="https://api.openai.com/v1", elem_id="open-address")
                model = gr.Textbox(label="Model", elem_id="open-judge-model")
                key = gr.Textbox(label="Key", type="password", elem_id="open-key")
            self.behaviour = gr.Textbox(
                behaviour, label="The behaviour that is scored", lines=2, elem_id="open-behaviour"
            )
            buttons = run_buttons("Ask the judge", "open-consult", "open-hush")
            self.judged = ScoresShown("open-judged", "The judge's scores by multiplier", "open-ratings")
        form = {"address": address, "model": model, "key": key, "behaviour": self.behaviour}
        shown = [*self.judged.parts[1:], *files.buttons.values()]
        super().__init__(page, form, [buttons.start], buttons.stop, self.judged.said, shown)

    def ask(self, session: Session, form: Mapping[str, Any]) -> Judging:
        scored = Scored.by(session.person)
        judge = Judge(form["address"] or "", form["key"] or "", form["model"] or "")
        behaviour = form["behaviour"] or ""
        same = _about(judge, behaviour).items() <= scored.given[JUDGE].items()
        known = {place: score for place, score in scored.scores(JUDGE).items() if same and score is not None}
        return Judging(judge, behaviour, scored.replies, known)

    def kept_of(self, person: Person) -> Plain | None:
        return person.results.get(ANSWERS)

    def begin(self, run: Run[Judging]) -> Job:
        return apart(lambda: self._judge(run))

    def _judge(self, run: Run[Judging]) -> Generator[Progress, None, None]:
        asked = run.asked
        scores: Ratings = asked.known
        try:
            for come in judge_all(asked.judge, asked.behaviour, asked.replies, known=asked.known):
                progress, scores = come
                yield progress
        finally:
            given = {**asked.about, "scores": kept(asked.replies, scores)}
            run.found = keep_scores(run.session.person, JUDGE, given)

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        scored = Scored.of(kept)
        scores = scored.scores(JUDGE)
        return self.judged.show(scored.replies, scores) if scores else {self.judged.said: ""}

    def files(self, session: Session, kept: Plain) -> Updates:
        return self.files_shown.show(session, Scored.of(kept))

    def waiting(self) -> Updates:
        return {self.status: "Asking ...", **self.at_work()}

    def how_far(self, progress: Progress) -> str:
        return bar(progress)


def _about(judge: Judge, behaviour: str) -> dict[str, str]:
    return {"behaviour": behaviour, "model": judge.model, "address": judge.host}
