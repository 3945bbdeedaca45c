"""Contests that are chosen with one click, most of a contest first, each with what came of it before."""

from dataclasses import fields
from functools import cache
from typing import Any

import gradio as gr

from caa_core.app.opening.ready import contests, ready, shipped
from caa_core.app.panels.common import QUIET, Updates, added, guarded, recommended
from caa_core.app.panels.contest.chosen import SAME, Chosen
from caa_core.app.panels.contest.form import VoicesForm
from caa_core.app.panels.conversation import Conversation
from caa_core.app.panels.experiment import Experiment
from caa_core.app.panels.page import Page
from caa_core.contest.dominance import Contest
from caa_core.data.presets import presets
from caa_core.model.loading import SteerableModel
from caa_core.reports.contest import how_much, in_brief


@cache
def in_order() -> dict[str, Contest | None]:
    """What came of each on the embedded model, by the preset that is voice A: most of a contest first, and last those
    of which that is not known.
    """
    kept = {name: shipped(verdict) for name, (verdict, _) in contests().items()}
    found = {name: Contest.of(one) for name, one in kept.items() if one}
    names = sorted(found, key=lambda name: how_much(found[name]), reverse=True)
    return {name: found.get(name) for name in (*names, *kept)}


def labels(model: SteerableModel) -> list[str]:
    """What is said of each: what came of it, where that was on this model."""
    measured = {name: found for name, found in in_order().items() if found and ready(contests()[name][0], model)}
    return [
        f"{name} against {presets()[name].opposes}" + (f": {in_brief(measured[name])}" if name in measured else "")
        for name in in_order()
    ]


@cache
def _asked() -> set[str]:
    """What was asked in those that ship."""
    kept = [shipped(answers) for _, answers in contests().values()]
    return {one["asked"]["question"] for one in kept if one}


class ReadyContests:
    """Their buttons."""

    def __init__(self, page: Page):
        self.page = page
        self.offered = gr.Dataset(
            components=[gr.Textbox(render=False)],
            samples=[[name] for name in in_order()],
            sample_labels=labels(page.studio.model),
            label="Ready contests",
            elem_id="compete-ready",
            elem_classes="suggestions",
        )

    def wire(self, voices: VoicesForm, verdict: Experiment[Any], chat: Conversation, questions: gr.Dropdown) -> None:
        """Let a click fill in the voices, and show in the verdict and the chat what came of it before. questions: whose
        written answers are about.
        """
        self.voices, self.verdict, self.chat, self.questions = voices, verdict, chat, questions
        parts = [*voices.parts.values(), voices.contest, questions, voices.equal, voices.costly, chat.question]
        self.offered.click(
            self.choose,
            [self.offered, chat.question],
            list(dict.fromkeys([*parts, *verdict.outputs, *chat.outputs])),
            **QUIET,
        )
        relabelled = self.page.news.change
        relabelled(lambda: gr.Dataset(sample_labels=labels(self.page.studio.model)), None, self.offered, **QUIET)

    @guarded
    def choose(self, request: gr.Request, sample: list[str], question: str) -> Updates:
        session, (name,) = self.page.session(request), sample
        verdict, answers = (ready(file, self.page.studio.model) for file in contests()[name])
        updates = self._filled(name)
        if verdict and self.verdict.name not in session.running:
            updates = added(updates, self.verdict.show_before(session, verdict))
        # What somebody has written, or is writing, stays; answers of another contest go.
        if self.chat.name not in session.running and not self.chat.kept_of(session.person):
            shown = self.chat.show_before(session, answers) if answers else self.chat.emptied()
            updates = added(updates, shown)
            if answers and question in _asked():  # not one that somebody has typed
                updates[self.chat.question] = answers["asked"]["question"]
        return updates

    def _filled(self, name: str) -> Updates:
        """Updates of the voices."""
        other, (layer, _) = presets()[presets()[name].opposes], recommended(self.page.studio, name)
        chosen = Chosen(name, layer, 1.0, other.name, layer, 1.0, SAME, other.told, other.begins, False)
        values: Updates = {self.voices.parts[one.name]: getattr(chosen, one.name) for one in fields(chosen)}
        return added({**values, self.voices.contest: name, self.questions: name}, self.voices.seen(SAME))
