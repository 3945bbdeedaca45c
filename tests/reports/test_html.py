import plotly.graph_objects as go
import pytest

from caa_core.errors import InputError
from caa_core.reports.writing import Report, Section, write

HOSTILE = "</script><img src=x onerror=alert(1)> <b>{{ 7 * 7 }}</b>"


@pytest.fixture
def written(tmp_path):
    figure = go.Figure(go.Scatter(x=[1, 2], y=[3, 4], text=[HOSTILE, HOSTILE], name=HOSTILE))
    parts = [Section(HOSTILE, HOSTILE, "Figure 3", figure, ["layer", HOSTILE], [[1, HOSTILE], [2, 0.5]])]
    write(Report("r", "joy", parts, (), {}, {"layers": [1, 2]}, {"model": HOSTILE}), tmp_path / "r.html")
    return (tmp_path / "r.html").read_text()


def test_everything_is_in_one_file(written):
    assert "Plotly" in written and 'src="http' not in written and "<link" not in written
    assert "Figure 3" in written and "[1, 2]" in written


def test_what_strangers_wrote_is_text(written):
    assert "<img" not in written.replace("\\u003cimg", "").split("</script>", 1)[1]
    assert HOSTILE not in written and "&lt;img" in written and "{{ 7 * 7 }}" in written


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write(Report("r", "joy", (), (), {}, {}, {}), tmp_path / "no" / "r.html")
