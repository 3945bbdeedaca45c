"""The app: where its model runs is chosen in Models, and a host that fails leaves everything as it is."""

import gradio as gr
import pytest

from caa_core.app.panels.conversation import _or_state
from caa_core.app.panels.hosting.models import describe
from caa_core.app.panels.hosting.where import AT_HOST, HERE, Where, chosen_host
from caa_core.app.studio import Studio
from caa_core.errors import InputError
from caa_core.progress import Stated, Waiting
from caa_core.remote.host import Host
from caa_core.steering.generation import Completion
from tests.helpers.elsewhere import elsewhere
from tests.remote.test_host import KEY, unused


def test_where_is_chosen(monkeypatch):
    assert chosen_host(HERE, "nonsense", "") is None
    assert chosen_host(AT_HOST, "https://example.org", KEY) == Host("https://example.org", KEY)
    with pytest.raises(InputError):
        chosen_host(AT_HOST, "nonsense", "")
    monkeypatch.setenv("CAA_PUBLIC", "1")
    with pytest.raises(InputError, match="strangers"):
        chosen_host(AT_HOST, "https://example.org", KEY)


@pytest.mark.parametrize("host", [None, Host("https://example.org", KEY)])
def test_the_form_begins_with_where_the_model_runs(host):
    with gr.Blocks():
        where = Where(host)
    assert (where.place.value, where.address.value or "") == ((AT_HOST, host.address) if host else (HERE, ""))
    assert where.address.visible == where.key.visible == where.note.visible == bool(host)
    assert not where.key.value


def test_what_a_host_does_before_the_first_token_is_shown():
    shown = _or_state(lambda texts: [])([Completion(waiting="queued: Moved to position 2"), Completion()])
    assert isinstance(shown, Stated)
    assert isinstance(shown, Waiting)
    assert "position 2" in str(shown)
    assert _or_state(lambda texts: [])([Completion()]) == []


def test_a_host_that_fails_leaves_the_model_and_one_that_runs_takes_its_place(process, tiny_folder, monkeypatch):
    studio = Studio(tiny_folder, say=lambda _: None, dtype="float32")
    before = studio.model
    with pytest.raises(InputError, match="cannot be reached"):
        studio.load("owner/name", say=lambda _: None, host=Host(unused(), KEY))
    assert studio.model is before
    there, pipe = elsewhere(process, tiny_folder)
    monkeypatch.setattr("caa_core.app.studio.load_there", lambda *_: there)
    studio.load("owner/name", say=lambda _: None, host=Host(unused(), KEY))
    studio._look.wait()
    assert studio.model is there
    assert pipe.count.jobs > 1  # the quick look ran there
    assert "in another process" in describe(studio)
    assert KEY not in describe(studio)
    assert KEY not in str(studio.health)
