"""Components that the options of a request are typed into, on the page and in an endpoint."""

from typing import Any

import gradio as gr
from gradio.components import Component

from caa_core.metrics.requests import Option, Request


def control(request: type[Request], name: str, **look: Any) -> Any:
    """The page's component for an option of a request. `look` is what else gradio is told."""
    return component(request.options()[name], **look)


def component(option: Option[Any], **look: Any) -> Any:
    """The page's component for an option, a gradio component of whichever kind suits it; with a `maximum` a slider."""
    look = {"label": option.label, "value": option.default, "info": option.info or None, **look}
    if option.kind is bool:
        return gr.Checkbox(**look)
    if "maximum" in look:
        return gr.Slider(**look)
    if option.choices:
        if option.kind is tuple:
            look |= {"multiselect": True, "value": list(look["value"])}
        elif option.kind is int:
            look["value"] = str(look["value"])
        return gr.Dropdown(list(option.choices), allow_custom_value=True, **look)
    if option.kind is int:
        return gr.Number(precision=0, **look)
    return gr.Textbox(**look)


def argument(name: str, option: Option[Any], **look: Any) -> Component:
    """The component behind an endpoint's argument, whose default is the option's unless another `value` is given."""
    kinds: dict[type, type[Component]] = {bool: gr.Checkbox, int: gr.Number, float: gr.Number, str: gr.Textbox}
    return kinds[option.kind](**{"value": option.default, "label": name, **look})
