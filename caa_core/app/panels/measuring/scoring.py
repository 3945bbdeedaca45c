"""Scores of answers to open questions on three axes, given without knowing the multiplier: by person and by judge."""

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
from caa_core.measuring.judging.asking import Judge
from caa_core.measuring.judging.axes import (
    AXES,
    HIGHEST,
    LOWEST,
    Rating,
    Ratings,
    ScoreAsked,
    balanced,
    kept,
    ratings_of,
)
from caa_core.measuring.judging.levels import in_words, unblinded
from caa_core.measuring.judging.planted import JudgeCheck
from caa_core.measuring.judging.rating import Judged, judge_all
from caa_core.measuring.open_questions import OpenQuestions, Reply
from caa_core.metrics.grid import whole
from caa_core.metrics.plain_data import plain as as_data
from caa_core.metrics.plain_data import restored
from caa_core.progress import Progress
from caa_core.reports import markup
from caa_core.reports.open_questions import SCORES, report_of, score_rows, scores_by_multiplier

# The name under which answers are kept, and who scores them.
ANSWERS = "open"
PERSON, JUDGE = "person", "judge"
BLIND = folded(
    "Score each answer three times, from 0 to 10. Keys 0 to 9, and X for 10.",
    "The behaviour, answering the question, reading well: their harmonic mean counts. No multiplier is shown; score "
    "before you look at the table above.",
)
JUDGED = folded(
    "A model behind an address that speaks OpenAI's API scores the answers. Your key is sent there and kept nowhere.",
    "It sees no multiplier. First it scores answers of known quality on all three: at chance there, it gives no score.",
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

    def scores(self, who: str) -> dict[int, Rating]:
        """By place of the answer."""
        return ratings_of(self.replies, self.given[who]["scores"])

    @property
    def complete(self) -> dict[int, Rating]:
        """The person's ratings that have all their scores."""
        return {place: rating for place, rating in self.scores(PERSON).items() if not rating.missing}

    @property
    def unscored(self) -> list[int]:
        """Places of the answers that the person has not wholly scored, in the order in which they are shown."""
        there = self.complete
        return [place for place in balanced(self.replies, self.seed) if place not in there]

    @property
    def check(self) -> JudgeCheck | None:
        """How the judge did on planted answers."""
        found = self.given[JUDGE].get("check")
        return restored(JudgeCheck, found, "What the judge did") if found else None


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
        scores = {PERSON: scored.complete, JUDGE: scored.scores(JUDGE)}
        return report_downloads(self.buttons, session, report_of(scored.found, scores, scored.check))


class ScoresShown:
    """What scores come to."""

    def __init__(self, said_id: str, label: str, figure_id: str):
        self.said = gr.Markdown(elem_id=said_id, elem_classes="numbers")
        with gr.Column(visible=False) as self.box:
            self.figure = figure(label, figure_id)
        self.parts: list[Block] = [self.said, self.box, self.figure]

    def show(self, replies: Sequence[Reply], scores: Ratings, check: JudgeCheck | None = None) -> Updates:
        means = unblinded(replies, scores)
        said = in_words(means, sum(level.unread for level in means))
        lines = [f"**{plain(said)}**", ""] if means or not check else []
        lines += [plain(str(check)).replace(". ", ".\n\n"), ""] if check else []
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
        kept = ' translate="no"' if reply.text else ""
        text = markup.escaped(reply.text) or "(nothing was written)"
        axis = _rating(scored).missing[0]
        return {
            self.shown: f'<div style="opacity:.7">{count - len(left)} of {count} scored</div>'
            f'<p translate="no"><b>{markup.escaped(reply.question)}</b></p>'
            f'<p{kept} style="white-space:pre-wrap">{text}</p>'
            f"<p><b>{[*AXES].index(axis) + 1} of {len(AXES)}: {AXES[axis].shown}</b></p>"
        }

    @guarded
    def give(self, request: gr.Request, said: str) -> Updates:
        person = self.page.session(request).person
        scored = Scored.by(person)
        if not scored.unscored:
            return self.show(scored)
        rating, ratings = _rating(scored), scored.scores(PERSON)
        ratings.pop(scored.unscored[0], None)  # what was given last stands last, to be taken back
        given = rating.with_score(rating.missing[0], float(whole(int(said), "The score")))
        return self._kept(person, kept(scored.replies, {**ratings, scored.unscored[0]: given}))

    @guarded
    def take_back(self, request: gr.Request) -> Updates:
        person = self.page.session(request).person
        scored = Scored.by(person)
        ratings = scored.scores(PERSON)
        if ratings:
            place, last = ratings.popitem()
            *before, axis = [axis for axis in AXES if axis not in last.missing]
            ratings |= {place: last.with_score(axis, None)} if before else {}
        return self._kept(person, kept(scored.replies, ratings))

    @guarded
    def reveal(self, request: gr.Request) -> Updates:
        session = self.page.session(request)
        scored = Scored.by(session.person)
        return {**self.meant.show(scored.replies, scored.complete), **self.files.show(session, scored)}

    def _kept(self, person: Person, scores: Sequence[Mapping[str, Any]]) -> Updates:
        return self.show(Scored.of(keep_scores(person, PERSON, {"scores": list(scores)})))


def _rating(scored: Scored) -> Rating:
    """What the person has given so far of the answer that is shown."""
    return scored.scores(PERSON).get(scored.unscored[0], Rating())


@dataclass(frozen=True)
class Judging:
    """A judge, the behaviour that it scores, and the answers with what it has said of them before; check: of planted
    ones.
    """

    judge: Judge
    behaviour: str
    replies: Sequence[Reply]
    known: Ratings
    check: JudgeCheck | None

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
        about, before = _about(judge, behaviour), scored.given[JUDGE]
        is_same_judge = all(before.get(part) == about[part] for part in ("model", "address"))
        known = scored.scores(JUDGE) if is_same_judge and before.get("behaviour") == behaviour else {}
        return Judging(judge, behaviour, scored.replies, known, scored.check if is_same_judge else None)

    def kept_of(self, person: Person) -> Plain | None:
        return person.results.get(ANSWERS)

    def begin(self, run: Run[Judging]) -> Job:
        return apart(lambda: self._judge(run))

    def _judge(self, run: Run[Judging]) -> Generator[Progress, None, None]:
        asked = run.asked
        found = Judged({**asked.known}, asked.check)
        with asked.judge.client() as client:

            def rate(one: ScoreAsked) -> float | None:
                return asked.judge.rate(client, one)

            try:
                for come in judge_all(rate, asked.behaviour, asked.replies, asked.known, asked.check):
                    progress, found = come
                    yield progress
            finally:
                given = {**asked.about, "scores": kept(asked.replies, found.ratings), "check": as_data(found.check)}
                run.found = keep_scores(run.session.person, JUDGE, given)

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        scored = Scored.of(kept)
        scores, check = scored.scores(JUDGE), scored.check
        return self.judged.show(scored.replies, scores, check) if scores or check else {self.judged.said: ""}

    def files(self, session: Session, kept: Plain) -> Updates:
        return self.files_shown.show(session, Scored.of(kept))

    def waiting(self) -> Updates:
        return {self.status: "Asking ...", **self.at_work()}

    def how_far(self, progress: Progress) -> str:
        return bar(progress)


def _about(judge: Judge, behaviour: str) -> dict[str, str]:
    return {"behaviour": behaviour, "model": judge.model, "address": judge.host}
