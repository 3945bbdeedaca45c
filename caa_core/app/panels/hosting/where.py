"""Where a model runs: on this machine, or on an NDIF host, whose key is forgotten once it has been used."""

import os

import gradio as gr

from caa_core.app.panels.common import QUIET, Updates, guarded
from caa_core.app.panels.layout import folded
from caa_core.limits import is_public
from caa_core.remote.host import Host

HERE, AT_HOST = "This machine", "An NDIF host"
NOTE = folded(
    "Models of the hub run there in the host's precision; text, tokens and numbers go to and fro, and no weights.",
    "People who write at once do not share a batch there, and a job that has begun cannot be stopped: each is kept "
    "short. PCA, probes, controls from shuffled labels and reading answers along a vector are done on this machine. "
    "Without a key, CAA_NDIF_KEY is used.",
    "What is otherwise there",
)


class Where:
    """The choice, which begins with where the model runs now; it is not there on a public app, where the environment
    decides.
    """

    def __init__(self, now: Host | None) -> None:
        known = os.environ.get("CAA_NDIF_HOST") or os.environ.get("NDIF_HOST") or ""
        self.at_host = now is not None
        with gr.Row(visible=not is_public()):
            self.place = gr.Radio(
                [HERE, AT_HOST],
                value=AT_HOST if now else HERE,
                label="Where it runs",
                elem_id="model-where",
                scale=1,
            )
            self.address = gr.Textbox(
                now.address if now else known,
                label="Address of the host",
                placeholder="https://api.ndif.us",
                visible=self.at_host,
                max_length=200,
                elem_id="model-host",
                scale=2,
            )
            self.key = gr.Textbox(
                label="Key", type="password", visible=self.at_host, max_length=200, elem_id="model-host-key", scale=1
            )
        self.note = gr.Markdown(NOTE, visible=self.at_host)
        self.place.change(self.show, self.place, [self.address, self.key, self.note], **QUIET)

    @guarded
    def show(self, place: str | None) -> Updates:
        """What an NDIF host takes, where one is chosen."""
        return {part: gr.update(visible=place == AT_HOST) for part in (self.address, self.key, self.note)}

    def instead_of(self, part: gr.components.Component) -> None:
        """Show a part of the form only where the model runs here."""
        self.place.change(lambda place: gr.update(visible=place != AT_HOST), self.place, part, **QUIET)

    @property
    def parts(self) -> list[gr.components.Component]:
        return [self.place, self.address, self.key]


def chosen_host(place: str | None, address: str | None, key: str | None) -> Host | None:
    """None for this machine. Raises InputError for an address or a key that are none, and on a public app."""
    return Host.of(address or "", key or "") if place == AT_HOST else None
