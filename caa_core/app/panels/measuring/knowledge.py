"""What steering costs on a test of knowledge: the second half of the cost in Look inside."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import Dependency

from caa_core.app.panels.common import bar, busy, check_fit, events, guarded, json_download, plain, stoppable, whole
from caa_core.app.panels.plots import figure
from caa_core.app.sessions import Session
from caa_core.app.studio import Studio
from caa_core.data.pairs import Dataset, read_pairs
from caa_core.limits import PAIRS
from caa_core.measuring.knowledge import MULTIPLIERS, Knowledge, check_test, examine, questions
from caa_core.metrics.grid import parse_multipliers
from caa_core.model.loading import SteerableModel
from caa_core.progress import Progress
from caa_core.reports.knowledge import capability_by_multiplier
from caa_core.steering.interventions import Positions

PANEL = "capability"
ABOUT = (
    "Right answers to A/B questions, unsteered and steered, over both letter orders, beside 20 random vectors of the "
    "same norm. Forty plain questions ship with the app; a file of yours has the right answer as the matching one."
)


def build(studio: Studio, entered: Dependency, vector: gr.Dropdown, layer: gr.Slider, positions: gr.Dropdown) -> None:
    """Draw it; vector, layer and steered positions are chosen elsewhere in the tab. After `entered` is shown what the
    person had measured before a reload.
    """
    gr.Markdown(f"### Capability\n{ABOUT}")
    with gr.Row(equal_height=True):
        upload = gr.File(
            label="A/B test of your own",
            file_types=[".json", ".jsonl", ".csv", ".tsv", ".parquet"],
            height=110,
            elem_id="capability-file",
            min_width=180,
        )
        with gr.Column(min_width=140):
            multipliers = gr.Textbox(
                ",".join(f"{m:g}" for m in MULTIPLIERS), label="Multipliers", elem_id="capability-multipliers"
            )
            with gr.Row():
                start = gr.Button("Check", variant="primary", size="md", min_width=70, elem_id="capability-run")
                stop = gr.Button("Stop", variant="stop", size="md", min_width=60, elem_id="capability-stop")
    said = gr.Markdown(elem_id="capability-said")
    shown = figure("Right answers by multiplier", "capability-figure")
    data = gr.DownloadButton("Data (JSON)", size="sm", interactive=False, elem_id="capability-data")

    @guarded
    def run(
        request: gr.Request, name: str, at: float, where: str, steps: str, file: str | None
    ) -> Iterator[dict[Any, Any]]:
        session = studio.session(request.session_hash)
        test = check_test(read_pairs(Path(file))) if file else questions()
        PAIRS.check(len(test.pairs))
        asked = whole(at, "The layer"), parse_multipliers(steps or ""), Positions.parse(where or "")
        yield {said: "Waiting for the model ...", **busy(start)}
        job = studio.run(lambda model: _examine(studio, model, session, name, test, *asked))
        for progress in events(session, PANEL, job):
            yield {said: bar(progress)}
        if job.stopped:
            yield {said: "Stopped; nothing was measured to its end."}
            return
        session.person.remember(PANEL, job.result.summary())
        yield draw(session, job.result)

    def draw(session: Session, found: Knowledge) -> dict:
        return {
            said: _in_words(found),
            shown: capability_by_multiplier(found),
            data: json_download(session, f"capability {found.vector}", found.summary()),
        }

    @guarded
    def restore(request: gr.Request) -> dict:
        session = studio.session(request.session_hash)
        kept = session.person.results.get(PANEL)
        return draw(session, Knowledge.of(kept)) if kept else {said: gr.skip()}

    silent = {"show_progress": "hidden", "api_visibility": "private"}
    measuring = start.click(run, [vector, layer, positions, multipliers, upload], [said, shown, data, start], **silent)
    stoppable(studio, PANEL, measuring, start, stop, said)
    entered.then(restore, None, [said, shown, data], **silent)


def _examine(
    studio: Studio,
    model: SteerableModel,
    session: Session,
    name: str,
    test: Dataset,
    layer: int,
    multipliers: list[float],
    positions: Positions,
) -> Generator[Progress, None, Knowledge]:
    vector = yield from studio.vector(model, session, name)
    check_fit(model, vector)
    return (yield from examine(model, test, vector, layer, multipliers, positions))


def _in_words(found: Knowledge) -> str:
    first, *rest = str(found).splitlines()
    skipped = [f"<small>{len(found.skipped)} skipped: {plain(found.skipped[0][:300])}</small>"] if found.skipped else []
    return "\n\n".join([f"**{plain(found.vector)}**: {plain(first)}", *map(plain, rest), *skipped])
