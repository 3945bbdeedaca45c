"""What a vector that was just made would do at each layer, to first order, on items that it was not made from.

It begins when a vector has been made, and what it comes to stays with the vector: Steer draws it along the layers.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from caa_core.app.made_from import held_out_of, pairs_of
from caa_core.app.panels.common import Updates, plain
from caa_core.app.panels.experiment import Experiment, Plain, Run
from caa_core.app.panels.layout import folded
from caa_core.app.panels.page import Page
from caa_core.app.panels.plots import figure
from caa_core.app.panels.steer.known import ESTIMATES, papers
from caa_core.app.sessions import Session
from caa_core.errors import InputError
from caa_core.measuring.evaluation import estimate_only
from caa_core.measuring.requests import EvaluationRequest
from caa_core.metrics.estimate_map import EstimateMap
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, showing
from caa_core.reports.evaluation import estimate_figure
from caa_core.vectors.vector import SteeringVector

NOTHING_HELD_OUT = "Nothing was held out to estimate on what this vector does: choose items in Measure."


class EstimatedEffect:
    """Where it is drawn, below the list of vectors."""

    def __init__(self) -> None:
        self.status = gr.Markdown(elem_id="generate-estimate-status")
        with gr.Column(visible=False) as self.column:
            self.said = gr.Markdown(elem_id="generate-estimated")
            self.plot = figure("Estimated effect by layer", "generate-estimate-plot")
        self.parts = [self.column, self.said, self.plot]

    def show(self, found: EstimateMap | None) -> Updates:
        """Updates that show an estimate; none where there is none."""
        if not found:
            return {self.column: gr.Column(visible=False)}
        brief = f"**Estimated, not measured.** {plain(found.headline)}."
        return {
            self.column: gr.Column(visible=True),
            self.said: folded(brief, plain(str(found)), "In numbers"),
            self.plot: estimate_figure(found),
        }


@dataclass(frozen=True)
class EstimateChoice:
    """A vector, and what is asked of it."""

    vector: SteeringVector
    request: EvaluationRequest


class Estimating(Experiment[EstimateChoice]):
    """Estimates what the vector does that is shown in the list."""

    name = "generate-estimate"
    cache = ESTIMATES
    says_settings = False

    def __init__(self, page: Page, drawn: EstimatedEffect, shown: gr.Dropdown, start: Callable[..., Dependency]):
        """shown: the name of the vector. start: the end of what made it."""
        self.drawn = drawn
        super().__init__(page, {"shown": shown}, [], None, drawn.status, drawn.parts, start)

    def updates(self, session: Session, form: Mapping[str, Any]) -> Iterator[Updates]:
        """Nobody has asked for it: where there is none, that is said, and no error. A host takes a job for each slice
        of it, so there it is left to Measure.
        """
        if self.studio.model.elsewhere:
            yield self.drawn.show(None)
            return
        with suppress(InputError):
            yield from super().updates(session, form)

    def ask(self, session: Session, form: Mapping[str, Any]) -> EstimateChoice:
        vector = session.vectors.get(form["shown"] or "")
        items = vector and held_out_of(session.person, vector)
        if not (vector and items):
            raise InputError(NOTHING_HELD_OUT)
        request = EvaluationRequest.parse(data=items, made_from=pairs_of(session.person, vector))
        return EstimateChoice(vector, request)

    def work(
        self, model: SteerableModel, session: Session, asked: EstimateChoice, known: dict[str, Any]
    ) -> Generator[Progress | Plain, None, Plain]:
        def packed(found: EstimateMap) -> Plain:
            return {"estimate": found.summary(), **papers(model, asked.vector)}

        found = packed((yield from showing(estimate_only(model, asked.request, asked.vector), packed)))
        known[asked.vector.sha256] = found
        return found

    def keep(self, run: Run[EstimateChoice], found: Plain) -> Plain:
        """It is kept with those of other vectors, once it is whole."""
        return found

    def failed(self, error: Exception, run: Run[EstimateChoice] | None) -> str:
        return plain(str(error)[:500]) if isinstance(error, InputError) else super().failed(error, run)

    def show(self, session: Session, kept: Plain, form: Mapping[str, Any]) -> Updates:
        return self.drawn.show(EstimateMap.kept_in(kept))

    def _refilled_parts(self) -> dict[str, Component]:
        return {}  # which vector is shown is the list's matter
