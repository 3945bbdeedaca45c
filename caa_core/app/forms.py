"""Components that the options of a request are typed into, on the page and in an endpoint."""

from typing import Any

import gradio as gr
from gradio.components import Component

from caa_core.metrics.requests import Request


def control(request: type[Request], name: str, **look: Any) -> Component:
    """The page's component for an option. `look` is what else gradio is told; with a `maximum` it is a slider."""
    option = request.options()[name]
    look = {"label": option.label, "value": option.default, "info": option.info or None, **look}
    if option.kind is bool:
        return gr.Checkbox(**look)
    if "maximum" in look:
        return gr.Slider(**look)
    if option.kind is int:
        return gr.Number(precision=0, **look)
    if option.choices:
        return gr.Dropdown(list(option.choices), allow_custom_value=True, **look)
    return gr.Textbox(**look)


def arguments(request: type[Request], **defaults: Any) -> dict[str, Component]:
    """The components behind an endpoint's arguments that are options, by name; `defaults` are those that the endpoint
    has in place of the option's own.
    """
    components: dict[type, type[Component]] = {bool: gr.Checkbox, int: gr.Number, float: gr.Number, str: gr.Textbox}
    return {
        name: components[option.kind](defaults.get(name, option.default), label=name)
        for name, option in request.options().items()
    }
