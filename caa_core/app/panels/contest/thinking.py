"""Can the model reason its way to one voice? A contest in eight arms of thinking, in the Compete tab."""

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import gradio as gr
from gradio.events import Dependency

from caa_core.app.forms import control
from caa_core.app.panels.common import (
    busy,
    download_buttons,
    events,
    guarded,
    plain,
    report_downloads,
    shared_bar,
    stoppable,
)
from caa_core.app.panels.contest.contest import CACHE, FORMATS, ContestPanel, Prepare, bout_of
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Person
from caa_core.app.studio import Studio
from caa_core.contest.runs import run_reasoning
from caa_core.contest.thoughts import ThinkingRequest
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress, showing
from caa_core.reports.thinking import (
    ARMS,
    arm_rows,
    arms_figure,
    budget_line,
    prompts_of,
    report_of,
    thoughts_html,
    verdicts,
)

PANEL = "compete-reasoning"
ABOUT = (
    "The model thinks before it answers, under either voice, both and none. Eight arms then tell apart whether the "
    "words it wrote, the way they are read, or the steered answer decides. It takes the answers chosen above."
)
MEANING = (
    "D is 1 where both voices together do what A alone does, −1 what B alone does; a change that its interval does not "
    "part from 0 is none. Disagree: the unsteered model, reading the thought, answers with the other voice."
)


class Thinking:
    """Draws the section. Call `draw` where it belongs in the layout, then `wire`."""

    def __init__(self, studio: Studio):
        self.studio = studio

    def draw(self) -> None:
        with gr.Accordion("Can it reason its way to one voice?", open=False, elem_id=PANEL):
            gr.Markdown(ABOUT)
            with gr.Row(equal_height=True):
                self.budget = {
                    name: control(
                        ThinkingRequest,
                        name,
                        minimum=least,
                        maximum=most,
                        step=step,
                        elem_id=f"{PANEL}-{name}",
                        min_width=140,
                    )
                    for name, least, most, step in (("prompts", 2, 40, 1), ("thoughts", 1, 8, 1), ("tokens", 8, 256, 8))
                }
                self.budget["seed"] = control(ThinkingRequest, "seed", elem_id=f"{PANEL}-seed", min_width=80)
                with gr.Column(min_width=120):
                    self.go = gr.Button("Think", variant="primary", elem_id=f"{PANEL}-think", size="md")
                    self.halt = gr.Button("Stop", variant="stop", elem_id=f"{PANEL}-stop", size="md")
            self.status = gr.Markdown(elem_id=f"{PANEL}-status")
            with gr.Column(visible=False) as self.results:
                self.said = gr.Markdown(elem_id=f"{PANEL}-said")
                with gr.Column(visible=False) as self.figure_box:
                    self.figure = figure("Dominance in each arm", f"{PANEL}-figure")
                self.table = gr.Dataframe(
                    headers=list(ARMS),
                    interactive=False,
                    wrap=True,
                    column_widths=["20%", "14%", "14%", "25%", "9%", "9%", "9%"],
                    buttons=["fullscreen"],
                    elem_id=f"{PANEL}-table",
                )
                gr.Markdown(f"<small>{MEANING}</small>")
                with gr.Accordion("Thoughts", open=False, elem_id=f"{PANEL}-read"):
                    self.prompt = gr.Dropdown([], label="Prompt", elem_id=f"{PANEL}-prompt")
                    self.thoughts = gr.HTML(elem_id=f"{PANEL}-texts")
                with gr.Row(visible=False) as self.files:
                    names = {ending: name.replace("Items", "Arms") for ending, name in FORMATS.items()}
                    self.downloads = download_buttons(PANEL, names)

    def wire(
        self,
        entered: Dependency,
        prepare: Prepare,
        values: Sequence[gr.components.Component],
        verdict: ContestPanel,
        system: gr.Textbox,
        positions: gr.Dropdown,
    ) -> None:
        """Let the buttons work. `prepare` is called as prepare(model, session, *values); answers: `verdict`'s."""

        @guarded
        def think(request: gr.Request, *asked: Any) -> Iterator[dict]:
            session = self.studio.session(request.session_hash)
            budget = ThinkingRequest.parse(**dict(zip(self.budget, asked, strict=False)))
            name, file, system, positions, *rest = asked[len(self.budget) :]
            bout, known, latest = bout_of(name, file, 0, system, positions), CACHE.of(session.person), []

            def keep(found: dict[str, Any]) -> dict[str, Any]:
                latest[:] = [found]
                session.person.remember(PANEL, found)
                return found

            def work(model: SteerableModel) -> Generator[Any, None, None]:
                a, b = yield from prepare(model, session, *rest)
                keep((yield from showing(run_reasoning(model, bout, a, b, budget, known), keep)))
                CACHE.keep(session.person, known)

            yield {self.status: "Waiting for the model ...", **busy(self.go)}
            job = self.studio.run(work)
            for event in events(session, PANEL, job):
                if isinstance(event, Progress):
                    yield {self.status: shared_bar(self.studio, event)}
                else:
                    yield self._shown(event)
            if latest:
                yield {**self._shown(latest[0]), **self._written(session.person, latest[0])}
            yield {self.status: "Stopped; what had come by then is shown." if job.stopped else ""}

        @guarded
        def restore(request: gr.Request) -> dict:
            person = self.studio.session(request.session_hash).person
            kept = person.results.get(PANEL)
            return {**self._shown(kept), **self._written(person, kept)} if kept else {self.status: gr.skip()}

        @guarded
        def read(request: gr.Request, prompt: str) -> Any:
            kept = self.studio.session(request.session_hash).person.results.get(PANEL)
            return thoughts_html(kept, prompt or "") if kept else gr.skip()

        silent = {"show_progress": "hidden", "api_visibility": "private"}
        shown = [self.status, self.results, self.said, self.figure_box, self.figure, self.table]
        shown += [self.prompt, self.thoughts, self.files, *self.downloads.values()]
        asked = [*self.budget.values(), verdict.contest, verdict.file, system, positions, *values]
        thinking = self.go.click(think, asked, [*shown, self.go], **silent)
        stoppable(self.studio, PANEL, thinking, self.go, self.halt, self.status)
        self.prompt.input(read, self.prompt, self.thoughts, **silent)
        entered.then(restore, None, shown, **silent)

    def _shown(self, found: dict[str, Any]) -> dict:
        drawn, prompts = arms_figure(found), prompts_of(found)
        first, *rest = verdicts(found) or [""]
        words = [f"#### {plain(first)}", *map(plain, rest), plain(budget_line(found))]
        return {
            self.results: gr.Column(visible=True),
            self.said: "\n\n".join(words if first else words[1:]),
            self.figure_box: gr.Column(visible=drawn is not None),
            self.figure: drawn,
            self.table: arm_rows(found),
            self.prompt: gr.Dropdown(prompts, value=prompts[0]),
            self.thoughts: thoughts_html(found, prompts[0]),
        }

    def _written(self, person: Person, found: dict[str, Any]) -> dict:
        """The files, of which there are some when an arm is known."""
        if not found["arms"]:
            return {self.files: gr.Row(visible=False)}
        return {self.files: gr.Row(visible=True), **report_downloads(self.downloads, person, report_of(found))}
