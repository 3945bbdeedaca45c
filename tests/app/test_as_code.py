"""The code that each panel shows is run, and gives what the page gives."""

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caa_core.app.as_code import (
    HERE_ALONE,
    KEY,
    AsCode,
    Here,
    Named,
    Side,
    contest,
    evaluation,
    extraction,
    inspection,
    open_questions,
    steering,
)
from caa_core.app.panels.measuring.study import GRID
from caa_core.cli.arguments import typed
from caa_core.cli.main import _parser, main
from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.measuring.paper.request import PaperRequest
from caa_core.measuring.requests import OpenQuestionsRequest, StudyRequest
from caa_core.vectors.formats import read_vector
from caa_core.vectors.vector import load_vector
from tests.helpers.app import PAIRS, four_items
from tests.helpers.handlers import Handlers
from tests.helpers.places import ROOT
from tests.remote.test_host import unused

HERE = Here("smollm2-135m", "", "http://localhost:7860/")
HOSTILE = [
    "it's; rm -rf / #",
    '"""); import os; os.system("true") #',
    "$(id) `id` ${HOME} !! \\ \\' \\n %s {0}",
    "--help",
    "-1",
    "a\nb\r\n\tc ```\n````\n# **x** $$ <script>",
    "",
    "~/*?[a] & | > < ; 'q' \"q\"",
    "日本語 🙂 \u202e é",
]
TYPED = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
TITLES = {
    "Python": "python",
    "Shell": "shell",
    "This app": "client",
    "This app, by OpenAI's API": "curl",
    "llama.cpp": "llama",
}
SAME = ("dominance", "low", "high", "delta_a", "delta_b", "delta_ab", "verdict")
# What the form of Steer begins with, but for what is chosen in each test.
BEGINS = {
    "system": "",
    "positions": "after-prompt",
    "temperature": 0,
    "seed": 0,
    "operation": "add",
    "spread": "",
    "gate": "",
}
# What is chosen in the Compete tab, and what is then in the code.
CONTESTS = {
    "across layers": (
        {"kind": "Different layers", "layer_b": 2, "apart": True, "system": "It's late."},
        ['system="It\'s late."', "without_shared=True"],
    ),
    "against a prompt": (
        {"kind": "Vector against prompt", "told": 'Say "no".', "operation_a": "ablate", "operation_b": "cap:1"},
        ["system_b='Say \"no\".'", 'operation_a="ablate"'],
    ),
}


def words(code):
    """What a real shell gives the command, but its name."""
    script = f"caa() {{ for word; do printf '%s\\0' \"$word\"; done; }}\n{code.shell}"
    return subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout.decode().split("\0")[:-1]


def arguments(code):
    """Values by name, and those without one, of the call that does the work."""
    calls = [
        node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call) and len(node.args + node.keywords)
    ]
    call = next(call for call in calls if ast.unparse(call.func) in ("caa.steer", "app.predict"))
    return {one.arg: ast.literal_eval(one.value) for one in call.keywords}, call.args


def holds(prompt, code):
    """Whether all three ask exactly this."""
    positional = arguments(code.python)[1]
    typed = _parser().parse_args(words(code))
    return ast.literal_eval(positional[1]) == arguments(code.client)[0]["prompt"] == typed.prompt == prompt


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40),
    st.floats(-4, 4),
    st.floats(0, 2),
)
def test_any_text_and_number_is_what_it_was(prompt, multiplier, temperature):
    form = {"system": prompt, "temperature": temperature, "max_new_tokens": 80.0}
    code = steering(HERE, prompt, Named("joy"), 12.0, multiplier, form)
    assert holds(prompt, code)
    typed = _parser().parse_args(words(code))
    asked, _ = arguments(code.client)
    assert typed.temperature == asked.get("temperature", 0) == temperature
    assert typed.steer == asked["steer"] and float(asked["steer"][0].removeprefix("joy:12:")) == multiplier
    assert typed.system == asked.get("system", "") == prompt.strip() and "max_new_tokens" not in code.client


@pytest.mark.parametrize("prompt", HOSTILE)
def test_a_text_is_not_run(prompt):
    assert holds(prompt, steering(HERE, prompt, Named("joy"), 12, 1, {}))


def test_only_what_differs_from_the_default_is_named():
    code = steering(HERE, "Hi", Named("joy"), 12, 2.0, {"system": " ", "positions": "after-prompt", "seed": 3.0})
    assert code.shell == "caa steer --prompt Hi --steer joy:12:2 --seed 3"
    assert 'caa.steer(model, "Hi", [("joy", 12, 2.0)], seed=3)' in code.python
    assert 'app.predict(prompt="Hi", steer=["joy:12:2"], seed=3, api_name="/steer")' in code.client
    code = steering(HERE, "Hi", Named("joy"), "12-15", 2.0, {"operation": "add", "shares": "norm"})
    assert code.shell == "caa steer --prompt Hi --steer joy:12-15:2 --shares norm"
    assert '[("joy", "12-15", 2.0)], shares="norm")' in code.python
    code = steering(HERE, "Hi", Named("joy"), 12, 2.0, {"gate": "joy:12:0.5"}, Named("joy"))
    assert code.shell == "caa steer --prompt Hi --steer joy:12:2 --gate joy:12:0.5"
    assert 'gate="joy:12:0.5")' in code.python and '    gate="joy:12:0.5",\n' in code.client
    own = Named("my.safetensors", is_file=True)
    code = steering(HERE, "Hi", own, 12, 2.0, {"gate": "my:12:0.5"}, own)
    assert "--gate my.safetensors:12:0.5" in code.shell and 'gate="file:12:0.5"' in code.client
    assert not steering(HERE, "Hi", Named("joy"), 12, 2.0, {"gate": "my:12:0.5"}, own).client
    asked = {"layers": "all", "counts": False, "controls": "0", "multipliers": "-1,1", "cue": "none"}
    code = evaluation(HERE, Named("joy"), Named("joy"), 0, "", asked | {"prompts": True, "told": " Be\n\nSad "})
    assert words(code)[-6:] == ["--no-counts", "--no-controls", "--told", "Be", "--told", "Sad"]
    assert '    prompts=True,\n    told=["Be", "Sad"],\n)' in code.python
    assert 'told="Be\\nSad"' in code.client
    code = evaluation(HERE, Named("joy"), Named("joy"), 0, "", asked)
    assert code.shell == "caa evaluate --vector joy --data joy --multipliers=-1,1 --no-counts --no-controls"
    code = extraction(HERE, Named("joy:ab"), 0, {"name": "", "letter_swap": True})
    assert code.shell == "caa extract --data joy:ab --out joy_ab.safetensors --letter-swap"
    assert 'model = caa.load("smollm2-135m")\n' in code.python
    code = contest(HERE, Side(Named("joy"), 12, 1), Side(begin="-Oh"), Named("joy"), {"second_voices": 0})
    assert code.shell == "caa compete --a joy:12:1 --begin-b=-Oh --data joy --no-second-voices"


def test_a_thought_is_asked_for_in_each_way_that_can():
    """llama.cpp steers every token alike, so that it is left out."""
    served = replace(HERE, served="m")
    code = steering(served, "Hi", Named("joy"), 12, 2.0, {"think": True, "positions": "thought"})
    assert code.shell == "caa steer --prompt Hi --steer joy:12:2 --positions thought --think" and not code.llama
    assert "think=True" in code.python and "think=True" in code.client
    assert '"chat_template_kwargs": {"enable_thinking": true}' in code.curl and '"positions": "thought"' in code.curl
    assert "enable_thinking" not in (plainly := steering(served, "Hi", Named("joy"), 12, 2.0, {"think": False})).curl
    assert plainly.llama


def test_a_model_at_a_host_is_asked_for_there(capsys):
    """Nobody listens, which all of it says that goes there."""
    there = Here("owner/name", "", "http://localhost:7860/", host=unused())
    codes = [
        steering(there, "Hi", Named("joy"), 12, 2.0, {}),
        extraction(there, Named("joy"), 0, {}),
        evaluation(there, Named("joy"), Named("joy"), 0, "", {}),
        contest(there, Side(Named("joy"), 12, 1), Side(Named("gloom"), 12, 1), Named("joy"), {}),
        inspection(there, "Hi", Named("joy"), 12, 2.0, {}),
    ]
    for code in codes:
        with pytest.raises(InputError, match="cannot be reached"):
            exec(code.python, {})
        if code.shell:
            assert main(words(code)) == 2
            assert "cannot be reached" in capsys.readouterr().err
        assert code.notes == [KEY]
    code = open_questions(there, Named("joy"), Named("joy"), 0, {"layer": 1})
    assert code.notes == [HERE_ALONE] and "--host" not in code.shell


def test_it_is_written_without_torch_and_gradio():
    found = "import sys, caa_core.app.as_code; assert not {'torch', 'gradio'} & set(sys.modules), 'too much'"
    subprocess.run([sys.executable, "-c", found], cwd=ROOT, check=True)


@pytest.fixture(scope="module")
def somebody(tiny_app):
    page = Handlers(tiny_app.studio, name="as-code")
    page.request = gr.Request(session_hash="as-code", headers={"referer": f"{tiny_app.url}?a=1#b"})
    return page


@pytest.fixture
def page(somebody, tmp_path, monkeypatch):
    """Somebody's page, and a folder in which the code is run."""
    monkeypatch.chdir(tmp_path)
    return somebody


def shown(page, name, **form):
    """What the section shows, as it is read off the page."""
    said = page.call("look", f"{name}-code-shown", **form)
    blocks = re.findall(r"^\*\*([\w ,'.]+)\*\*\n\n(`{3,})\w+\n(.*?)\n\2$", said, re.DOTALL | re.MULTILINE)
    found = {TITLES[title]: text for title, _, text in blocks}
    assert [*found][:3] == ["python", "shell", "client"]
    return AsCode(**found, notes=said[: said.index("**Python**")].split("\n\n")[:-1])


def typed_in(page, name, **form):
    """The command that a section shows alone, and what the command line takes from it."""
    said = page.call("look", f"{name}-code-shown", **form)
    (text,) = re.findall(r"```bash\n(.*?)\n```", said, re.DOTALL)
    assert "```python" not in said
    return _parser().parse_args(words(AsCode(shell=text)))


def test_look_inside(page, capsys):
    form = {"text": 'It\'s "late".', "layer": 1, "multiplier": -1.5, "how": "Text as it is", "positions": "all"}
    form |= {"operation": "keep-norm", "spread": "1-2", "shares": "whole"}
    kept = asked(page, "views", form)
    said = page.call("look", "views-code-shown")
    names = {}
    for text in re.findall(r"```python\n(.*?)\n```", said, re.DOTALL):
        exec(text, names)
        views = names["views"] if isinstance(names["views"], dict) else names["views"].summary()
        assert views["lens"]["tokens"] == kept["lens"]["tokens"] and views["next_token"] == kept["next_token"]
    assert "```bash" not in said


def test_what_only_the_command_line_does_besides_is_shown_as_a_command_that_asks_the_same(page, capsys):
    form = page.experiment("open").form
    page.held[form["max_new_tokens"]] = 8
    open_ = typed_in(page, "open", open_vector="formal", open_layer=2, open_multipliers="0,1.5", open_preset="formal")
    asked_of = OpenQuestionsRequest.parse(questions=["?"], **typed(open_, OpenQuestionsRequest))
    assert (asked_of.layer, asked_of.multipliers, asked_of.max_new_tokens) == (2, (0.0, 1.5), 8)
    assert (open_.vector, open_.questions, open_.limit, open_.model) == ("formal", "formal", 0, page.studio.spec)

    study = typed_in(page, "study", study_preset="formal", study_layers="2", study_design=GRID, study_most=4)
    data = presets()["formal"].dataset().first(4)
    found = StudyRequest.parse(pairs=data, items=data, **typed(study, StudyRequest))
    there = page.experiment("study").form
    shown_on_page = StudyRequest.parse(
        pairs=data,
        items=data,
        full=True,
        layers="2",
        **{name: there[name].value for name in ("multipliers", "positions", "reads", "cues", "controls")},
    )
    assert found == shown_on_page and (study.data, study.test, study.items, study.limit) == ("formal", "formal", 4, 50)

    both = typed_in(
        page, "behaviours", behaviours_presets=["joy", "formal"], behaviours_pairs=12, behaviours_controls=0
    )
    found = PaperRequest.parse(**typed(both, PaperRequest))
    assert both.sources == ["joy", "formal"] and (found.pairs, found.items, found.controls) == (12, None, 0)


def run(code, capsys):
    """What Python's names hold at the end, what the shell's command gives as JSON, and what the client's names hold."""
    python, client = {}, {}
    exec(code.python, python)
    exec(code.client, client)
    capsys.readouterr()
    assert main([*words(code), "--json"]) == 0
    return python, json.loads(capsys.readouterr().out), client


def asked(page, name, form):
    """Set parts of a panel's form by their names, and run it. Gives what it keeps."""
    experiment = page.experiment(name)
    for key, value in form.items():
        page.held[experiment.form[key]] = value
    list(page.start(experiment))
    return page.session.person.results.get(name)


def test_steer(page, capsys):
    prompt = " ".join(HOSTILE)
    form = {"multiplier": 0.5, "operation": "ablate", "spread": "1-2", "max_new_tokens": 8, "gate": "gloom:1:-1e9"}
    kept = asked(page, "steer", {"question": prompt, **form})
    code = shown(page, "steer")  # the prompt has left its box
    assert "--steer joy:1-2:0.5" in code.shell and "--operation ablate" in code.shell
    assert code.notes == []
    python, shell, client = run(code, capsys)
    answers = list(kept["exchanges"][-1]["answers"])
    given = python["answers"]
    assert [given.unsteered.text, given.steered.text] == answers == [shell["unsteered"], shell["steered"]]
    assert [client["answers"][name] for name in ("unsteered", "steered")] == answers
    assert asked_by_curl(code)["choices"][0]["message"]["content"] == answers[1]
    assert shown(page, "steer", steer_prompt="And now?").notes == ["The chat until now is not part of it."]


def asked_by_curl(code):
    """What a real shell and curl get."""
    if not shutil.which("curl"):
        pytest.skip("no curl: apt-get install curl")
    done = subprocess.run(["sh", "-c", f"{code.curl} --silent"], capture_output=True, check=True)
    return json.loads(done.stdout)


def test_curl_asks_for_all_that_is_set_and_says_the_key_where_there_is_one(page, monkeypatch):
    form = {"question": 'It\'s\n"so"?', "layer": 1, "multiplier": -1.5, "max_new_tokens": 8, "system": "Don't."}
    form |= {"positions": "all", "temperature": 0.5, "seed": 3, "exchanges": (), "operation": "add", "spread": ""}
    form |= {"gate": ""}
    kept = asked(page, "steer", form)
    monkeypatch.setenv("CAA_API_KEY", 'it\'s a "key"')
    code = shown(page, "steer", steer_prompt=form["question"])
    found = asked_by_curl(code)
    assert found["choices"][0]["message"]["content"] == kept["exchanges"][-1]["answers"][1]
    where = {"layer": 1, "multiplier": -1.5, "positions": "all", "operation": "add"}
    assert found["steering"] == [{"vector": "joy", **where}]
    monkeypatch.setenv("CAA_API", "0")
    assert not shown(page, "steer").curl
    page.held |= {page.experiment("steer").form[name]: value for name, value in BEGINS.items()}


def ran_before_llama(code, capsys):
    """The file that the command of llama.cpp names, once the line before has been run."""
    about, made, command = code.llama.replace("\\\n", "").split("\n")  # which a long name of a folder breaks
    assert about.startswith("# model.gguf") and main(words(AsCode(shell=made))) == 0
    capsys.readouterr()
    typed = shlex.split(command)
    file, multiplier = typed[typed.index("--control-vector-scaled") + 1].split(":")
    return read_vector(Path(file)), float(multiplier), typed


def test_llama_cpp_is_given_the_vector_at_its_layer(page, capsys, tiny_app):
    page.session.keep(replace(tiny_app.vector("joy"), name="-my, joy"))
    save = tiny_app.vector("joy").save
    for name, layer in (("joy", 2), ("-my, joy", 1)):
        form = {"vector": name, "layer": layer, "multiplier": -2, "max_new_tokens": 6, "question": "Don't?"}
        page.held |= {page.experiment("steer").form[part]: value for part, value in form.items()}
        save(Path("-my_ joy.safetensors"))  # which the page gives
        vector, multiplier, typed = ran_before_llama(shown(page, "steer"), capsys)
        assert torch.equal(vector.at(layer), tiny_app.vector("joy").at(layer)) and multiplier == -2
        at = typed.index("--control-vector-layer-range")
        assert typed[at : at + 5] == ["--control-vector-layer-range", f"{layer}", f"{layer}", "-p", "Don't?"]
        assert typed[at + 5 :] == ["-st", "-n", "6", "--temp", "0"]
    # Of several layers the file has what each gets.
    vector, multiplier, typed = ran_before_llama(shown(page, "steer", steer_spread="1-2"), capsys)
    for layer in (1, 2):
        assert torch.allclose(vector.at(layer), tiny_app.vector("joy").at(layer) / 2) and multiplier == -2
    assert typed[typed.index("--control-vector-layer-range") :][1:3] == ["1", "2"]
    assert not shown(page, "steer", steer_layer=0).llama and not shown(page, "steer", steer_gate="joy:1:0").llama


def test_generate_and_steer_with_what_was_made(page, capsys, tmp_path):
    asked(page, "generate", {"name": "my joy", "layers": "1-2", "limit": 5, "read": "last"})
    made = page.session.vectors["my joy"]
    python, _, client = run(shown(page, "generate"), capsys)
    for vector in (python["vector"], load_vector(tmp_path / "my joy.safetensors"), load_vector(Path(client["file"]))):
        assert vector.name == "my joy" and list(vector.layers) == [1, 2]
        assert torch.equal(vector.at(2), made.at(2))
    with_it = {"vector": "my joy", "layer": 2, "multiplier": -2, "max_new_tokens": 6}
    with_it |= {"operation": "add", "spread": ""}
    kept = asked(page, "steer", {"question": "Hi", "exchanges": (), **with_it})
    code = shown(page, "steer")
    assert code.notes == ["my joy.safetensors is downloaded under Generate vectors."]
    python, shell, client = run(code, capsys)
    found = {python["answers"].steered.text, shell["steered"], client["answers"]["steered"]}
    assert found == {kept["exchanges"][-1]["answers"][1]}


def test_pairs_of_ones_own_are_the_file_that_the_page_gives(page, capsys, tmp_path):
    (tmp_path / "own.json").write_text(json.dumps(PAIRS))
    page.run("read", "generate-kind", generate_upload=str(tmp_path / "own.json"))
    shutil.copy(page["generate-save"], tmp_path / "own.json")
    asked(page, "generate", {"layers": "1", "limit": 0, "name": "own"})
    code = shown(page, "generate")
    assert code.notes == ["Download the pairs as own.json."]
    python, _, client = run(code, capsys)
    assert torch.equal(python["vector"].at(1), page.session.vectors["own"].at(1))
    assert torch.equal(load_vector(Path(client["file"])).at(1), page.session.vectors["own"].at(1))


def test_measure(page, capsys):
    form = {"layers": "1", "multipliers": "-1,1", "limit": 4, "controls": "0", "counts": False, "told": "Be glad."}
    form["operation"] = "cap:-0.5"
    kept = asked(page, "measure", form)
    python, shell, client = run(shown(page, "measure"), capsys)
    expected = kept["found"]["cells"]
    assert shell["cells"] == client["found"]["cells"] == expected and len(expected) == 2
    assert python["found"].summary()["cells"] == expected
    assert shell["verdict"] == client["found"]["verdict"] == kept["found"]["verdict"]


@pytest.mark.parametrize(("form", "there"), CONTESTS.values(), ids=CONTESTS)
def test_compete(page, capsys, tmp_path, form, there):
    four_items(tmp_path)
    voices = {"layer_a": 1, "file": str(tmp_path / "four.json"), "second_voices": 0, **form}
    kept = asked(page, "compete-verdict", voices)
    code = shown(page, "compete-verdict")
    assert all(one in code.python for one in there)
    python, shell, client = run(code, capsys)
    for name in SAME:
        assert python["found"][name] == shell[name] == client["found"][name] == kept[name]
