"""Figures on the page, with buttons that save them as pictures and show their numbers."""

import gradio as gr

from caa_core.app.opening.languages.parts import said

FORMATS = ("PNG", "SVG")
# The page's own copy of plotly draws the file; nothing is asked of the server.
SAVE = """() => {{
    const plot = document.querySelector('#{elem_id} .js-plotly-plot');
    if (plot) window.Plotly.downloadImage(plot, {{
        format: '{format}', filename: '{name}', width: plot.offsetWidth, height: plot.offsetHeight, scale: {scale}
    }});
}}"""

# The plot is drawn anew with every value and has no event of its own, so what is clicked in it is taken from plotly: a
# `gr.HTML` with this as its `js_on_load` is selected with the customdata of the point.
ON_CLICK = """
const bind = () => {{
  const plot = document.querySelector('#{elem_id} .js-plotly-plot');
  if (!plot || !plot.on || plot.dataset.bound) return;
  plot.dataset.bound = 'yes';
  plot.on('plotly_click', (event) => trigger('select', {{ index: 0, value: event.points[0].customdata }}));
}};
new MutationObserver(bind).observe(document.body, {{ childList: true, subtree: true }});
bind();
"""


def figure(label: str, elem_id: str, wide: bool = False) -> gr.Plot:
    """A place for a figure, and the buttons below it, which save it or show its numbers as tables. wide: whether it has
    panels beside each other, of which a phone shows some at a time.
    """
    shown = gr.Plot(label=label, elem_id=elem_id, elem_classes="wide" if wide else None)
    with gr.Row(elem_classes="save"):  # which is seen with the figure
        for format in FORMATS:
            save_button(elem_id, elem_id, format, format, 60, scale=0)
        numbers = gr.Button("Numbers", size="sm", min_width=80, scale=0, elem_id=f"{elem_id}-numbers")
        numbers.click(None, js=f"() => window.showNumbers('{elem_id}', {said(label)})", api_visibility="private")
    return shown


def clicks_in(plot: str, elem_id: str) -> gr.HTML:
    """What is selected with the point of a figure that is clicked; nothing is seen of it."""
    return gr.HTML("", js_on_load=ON_CLICK.format(elem_id=plot), elem_id=elem_id, elem_classes="unseen-part")


def save_button(plot: str, name: str, format: str, label: str, min_width: int, scale: int | None = None) -> gr.Button:
    """A button that saves the figure in the part `plot` as a picture; `name` is the file's, and begins the button's."""
    ending = format.lower()
    button = gr.Button(label, size="sm", min_width=min_width, scale=scale, elem_id=f"{name}-{ending}")
    script = SAVE.format(elem_id=plot, name=name, format=ending, scale=2 if format == "PNG" else 1)
    button.click(None, js=script, api_visibility="private")
    return button
