"""The page: builds it from the panels and launches it. Also the entry point of a Hugging Face Space."""

import os
import sys

import gradio as gr

from caa_core.catalog import DEFAULT_MODEL
from caa_core.errors import InputError
from caa_core.panels import compete, endpoints, generate, models, steer
from caa_core.panels.common import vector_choices
from caa_core.service import Studio

TITLE = "CAA Studio"
INTRO = (
    "Make a **steering vector** from pairs of answers that differ in one behaviour, add it to a language model while "
    "it writes, and compare. Contrastive Activation Addition, after "
    "[Panickssery et al.](https://arxiv.org/abs/2312.06681)"
)
# A page asks so often whether somebody has loaded another model.
SECONDS_BETWEEN_LOOKS = 5
# Handlers wait in threads for the one that runs the model; Stop must always get one.
THREADS = 200
MAX_UPLOAD = "200mb"
CSS = """
.gradio-container { max-width: 1500px !important; margin: auto; }
#model-line { text-align: right; }
progress { appearance: none; width: 100%; height: 10px; border: 0; background: var(--border-color-primary); }
progress::-webkit-progress-bar { background: var(--border-color-primary); border-radius: 5px; }
progress::-webkit-progress-value { background: var(--primary-500); border-radius: 5px; }
progress::-moz-progress-bar { background: var(--primary-500); border-radius: 5px; }
:is(#compete-decomposition, #model-list) :is(th, td) { border-color: var(--border-color-primary) !important; }
/* A toast says what went wrong; what was there stays to be seen. */
[data-testid="status-tracker"]:has(.error) { display: none !important; }
#generate-preview, #model-list { contain: inline-size; overflow-x: auto; }
#model-list table { width: 100%; }
#model-list :is(th, td) { white-space: nowrap; }
#model-load { align-self: center; }
.papers ul { margin: 0; }
body { overflow-x: clip; }
.answers button[aria-label="Clear"] { display: none; }
.answers .message { font-size: var(--text-md); }
"""
THEME = gr.themes.Default(primary_hue="blue", neutral_hue="slate")


def build(studio: Studio) -> gr.Blocks:
    """The whole page around one studio."""
    with gr.Blocks(title=TITLE, fill_width=True, analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        with gr.Row(equal_height=True):
            with gr.Column(scale=3):
                gr.Markdown(f"# {TITLE}\n{INTRO}")
            with gr.Column(scale=3, min_width=340):
                line = gr.Markdown(models.describe(studio), elem_id="model-line")
        shown = gr.State("")  # which model the page shows
        with gr.Tab("Steer", id="steer"):
            steer_pickers, steer_layers = steer.build(page, studio)
        with gr.Tab("Generate vectors", id="generate"):
            changed, generate_pickers = generate.build(studio, shown)
        with gr.Tab("Compete", id="compete") as tab:
            compete_pickers, compete_layers = compete.build(tab, studio)
        with gr.Tab("Models", id="models") as tab:
            loaded = models.build(tab, studio, line)
        endpoints.build(studio)

        pickers = [*steer_pickers, *compete_pickers, *generate_pickers]
        layers = [*steer_layers, *compete_layers]

        def refresh(request: gr.Request, known: str, *values: float) -> list:
            """Choices, and sliders that end with the loaded model's layers."""
            choices = vector_choices(studio.session(request.session_hash))
            deepest = studio.model.num_layers - 1
            return [
                *models.state_of(studio),
                *(gr.Dropdown(choices) for _ in pickers),
                *(gr.Slider(maximum=deepest, value=min(value, deepest)) for value in values),
            ]

        def look(request: gr.Request, known: str, *values: float) -> list:
            """The same, when somebody else has loaded another model."""
            if models.state_of(studio)[1] == known:
                return [gr.skip()] * (2 + len(pickers) + len(layers))
            return refresh(request, known, *values)

        def leave(request: gr.Request) -> None:
            studio.leave(request.session_hash)

        page_parts = {"inputs": [shown, *layers], "outputs": [line, shown, *pickers, *layers]}
        silent = {"show_progress": "hidden", "api_visibility": "private"}
        gr.on([page.load, changed.change, loaded.change], refresh, **page_parts, **silent)
        gr.Timer(SECONDS_BETWEEN_LOOKS).tick(look, **page_parts, **silent, queue=False)
        page.unload(leave)
    return page


def main() -> None:
    """Load the model and serve. Host and port: GRADIO_SERVER_NAME, GRADIO_SERVER_PORT; model: CAA_MODEL."""
    try:
        studio = Studio(os.environ.get("CAA_MODEL", DEFAULT_MODEL))
    except InputError as error:
        sys.exit(str(error))
    page = build(studio).queue(default_concurrency_limit=None, api_open=False)
    page.launch(theme=THEME, css=CSS, footer_links=["api"], max_threads=THREADS, max_file_size=MAX_UPLOAD)


if __name__ == "__main__":
    main()
