"""What of gradio's script is mended, and that the browser gets it so."""

from caa_core.app.opening.statuses import MENDS, mended
from tests.helpers.app import get


def test_gradios_script_is_the_one_that_is_known_and_is_served_mended(tiny_app):
    found = mended()
    assert found, "gradio's script has changed: see what of it is mended still"
    name, text = found
    said = get(f"{tiny_app.url}assets/{name}")
    assert said.headers["content-type"].startswith("text/javascript") and said.text == text
    assert all(new in said.text for _, new in MENDS)
