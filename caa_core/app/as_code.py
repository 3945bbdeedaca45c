"""What is chosen on the page as code that does the same: in Python, on the command line, as a call of the running app;
an answer with a vector also by curl, and by llama.cpp.

Options are named where they are chosen otherwise than by default, as `Request.options` declares them for all three.
Texts of somebody's own are quoted by `repr` and `shlex`.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from caa_core.contest.requests import ContestRequest
from caa_core.data.text import download_name
from caa_core.measuring.paper.request import PaperRequest
from caa_core.measuring.requests import EvaluationRequest, InspectionRequest, OpenQuestionsRequest, StudyRequest
from caa_core.metrics.options import OPERATION, SHARES
from caa_core.metrics.requests import Option, Request
from caa_core.metrics.vector_requests import ExtractionRequest, SteeringRequest
from caa_core.model.catalog import DEFAULT_MODEL
from caa_core.model.prompts import SWITCH
from caa_core.steering.interventions import layers_named

# Lines are broken beyond so many letters.
WIDE = 90
LLAMA = "# model.gguf is the same model. llama.cpp adds the vector at every position, the prompt's too."
Form = Mapping[str, Any]


@dataclass(frozen=True)
class AsCode:
    """The same work in each way that there is for it, and what is to be known of it, a sentence each."""

    python: str = ""
    shell: str = ""
    client: str = ""
    notes: Sequence[str] = ()
    curl: str = ""
    llama: str = ""


@dataclass(frozen=True)
class Here:
    """The app that shows the code: its model as `caa.load` finds it, the dtype where that is not the machine's own
    choice, and its address. served: the model as programs name it that ask in the way of OpenAI; empty where none may.
    keyed: whether they need a key. host: the address of the NDIF host on which the model runs; empty on this machine.
    """

    model: str
    dtype: str
    address: str
    served: str = ""
    keyed: bool = False
    host: str = ""


@dataclass(frozen=True)
class Named:
    """A vector or data: a preset's name, or the name of a file."""

    name: str
    is_file: bool = False

    @classmethod
    def vector(cls, name: str, own: bool) -> "Named":
        """A vector by its name on the page; one of one's own is the file that the page gives."""
        return cls(download_name(name, ".safetensors"), True) if own else cls(name)


@dataclass(frozen=True)
class Side:
    """One voice of a contest: a vector with its layer (or several as text), multiplier and operation, or words."""

    vector: Named | None = None
    layer: float | str = 0
    multiplier: float = 0
    system: str = ""
    begin: str = ""
    operation: str = OPERATION.default


# Commands that run at an NDIF host, too, and what is to be known of the others.
AT_HOST = ("extract", "steer", "evaluate", "compete")
KEY = "Where the host asks for a key, Python and the shell read it from CAA_NDIF_KEY."
HERE_ALONE = "This is not done at an NDIF host: the command loads the model on the machine that it is typed on."

# What OpenAI's way takes of each vector beside its layer and multiplier.
BESIDE = ("positions", "operation", "shares", "gate")


def chosen(request: type[Request], form: Form, **otherwise: Any) -> dict[str, Any]:
    """Options of a form that are chosen otherwise than by default, as plain values; `otherwise` are other defaults than
    those declared. Raises InputError for what cannot be chosen.
    """
    there = {name: option for name, option in request.options().items() if name in form}
    return {
        name: _plain(option, form[name])
        for name, option in there.items()
        if option.value(form[name]) != option.value(otherwise.get(name, option.default))
    }


def steering(
    here: Here,
    prompt: str,
    vector: Named,
    layer: float | str,
    multiplier: float,
    form: Form,
    gate: Named | None = None,
) -> AsCode:
    """An answer without and with a vector. layer: one, or several as text. gate: the vector of the form's gate."""
    options = chosen(SteeringRequest, form)
    if gate:
        options["gate"] = _of_source(gate.name, options["gate"])
    layer = layer if isinstance(layer, str) else int(layer)
    added = f"({_literal(vector.name)}, {_literal(layer)}, {_literal(float(multiplier))})"
    answers = _call("answers = caa.steer", ["model", _literal(prompt), f"[{added}]", *_keywords(options)])
    spec = _spec(vector.name, layer, multiplier)
    flags = [_flag("--prompt", prompt), _flag("--steer", spec), *_flags(SteeringRequest, options)]
    files = {"vector_file": vector} if vector.is_file else {}
    asked = {"prompt": prompt, "steer": [_spec("file", layer, multiplier) if files else spec], **files, **options}
    said = ['print(answers["unsteered"])', 'print(answers["steered"])']
    other = gate is not None and gate.is_file and gate != vector  # a second file, which nothing takes there
    if gate == vector and files:
        asked["gate"] = _of_source("file", options["gate"])
    return AsCode(
        _python(here, answers, "print(answers.unsteered.text)", "print(answers.steered.text)"),
        _shell(here, "steer", flags),
        "" if other else _client(here, "answers", "/steer", asked, *said),
        [*_brought(vector), *(_brought(gate) if gate and other else []), *_known_of(here, "steer")],
        "" if vector.is_file or other else _curl(here, prompt, (vector.name, layer, multiplier), options),
        "" if {"operation", "gate", "think"} & {*options} else _llama(here, prompt, vector, layer, multiplier, options),
    )


def extraction(here: Here, data: Named, limit: int, form: Form, notes: Sequence[str] = ()) -> AsCode:
    """A vector from contrast pairs, written to a file of its name."""
    options = chosen(ExtractionRequest, form)
    out = download_name(options.get("name") or data.name, ".safetensors")
    made = _call("vector = caa.extract", ["model", _data("pairs", data, limit), *_keywords(options)])
    flags = [_flag("--data", data.name), _flag("--out", out), *_limit(limit), *_flags(ExtractionRequest, options)]
    asked = {"file" if data.is_file else "preset": data, **({"limit": limit} if limit else {}), **options}
    return AsCode(
        _python(here, made, _call("caa.write_vector", ["vector", _literal(out)])),
        _shell(here, "extract", flags),
        _client(here, "file, summary", "/extract", asked, "print(file)"),
        [*notes, *_known_of(here, "extract")],
    )


def evaluation(
    here: Here, vector: Named, data: Named, limit: int, columns: str, form: Form, notes: Sequence[str] = ()
) -> AsCode:
    """What a vector does to test items."""
    options = chosen(EvaluationRequest, form)
    columns = columns.strip() if data.is_file else ""
    pairs = _data("test_pairs", data, limit, columns)
    found = _call("found = caa.evaluate", ["model", _literal(vector.name), pairs, *_keywords(options)])
    flags = [_flag("--vector", vector.name), _flag("--data", data.name), *_limit(limit)]
    flags += [_flag("--columns", columns)] if columns else []
    flags += _flags(EvaluationRequest, chosen(EvaluationRequest, form, prompts=True))
    lines = {name: "\n".join(value) for name, value in options.items() if isinstance(value, list)}
    asked = {
        **({"vector": "file", "vector_file": vector} if vector.is_file else {"vector": vector}),
        "data_file" if data.is_file else "data": data,
        **options,
        **lines,
        **({"columns": columns} if columns else {}),
        **({"limit": limit} if limit else {}),
    }
    return AsCode(
        _python(here, found, "print(found.conclusion.text)"),
        _shell(here, "evaluate", flags),
        _client(here, "found", "/evaluate", asked, 'print(found["verdict"]["text"])'),
        [*_brought(vector), *notes, *_known_of(here, "evaluate")],
    )


def contest(
    here: Here,
    a: Side,
    b: Side,
    data: Named,
    form: Form,
    without_shared: bool = False,
    shares: str = SHARES.default,
) -> AsCode:
    """Which of two voices the model follows. shares: of several layers."""
    sides, options = {"a": a, "b": b}, chosen(ContestRequest, form)
    words = {
        f"{part}_{letter}": text
        for letter, side in sides.items()
        for part, text in (("system", side.system), ("begin", side.begin), ("operation", _done(side)))
        if text
    }
    words |= {"shares": shares} if shares != SHARES.default else {}
    apart = {"without_shared": True} if without_shared else {}
    voices = [_voice(side) for side in sides.values()]
    keywords = _keywords({**words, **apart, **options})
    found = _call("found = caa.compete", ["model", *voices, _data("contest_pairs", data), *keywords])
    files = {f"{letter}_file": side.vector for letter, side in sides.items() if side.vector and side.vector.is_file}
    specs = {
        letter: _spec(side.vector.name, side.layer, side.multiplier) if side.vector else ""
        for letter, side in sides.items()
    }
    flags = [_flag(f"--{letter}", spec) for letter, spec in specs.items() if spec]
    flags += [_flag(f"--{name.replace('_', '-')}", text) for name, text in words.items()]
    flags += [_flag("--data", data.name), *([["--without-shared"]] if apart else []), *_flags(ContestRequest, options)]
    given = {
        letter: _spec("file", side.layer, side.multiplier) if f"{letter}_file" in files else specs[letter]
        for letter, side in sides.items()
    }
    asked = {**given, **files, "data_file" if data.is_file else "data": data, **words, **options, **apart}
    return AsCode(
        _python(here, found, 'print(found["verdict"])'),
        _shell(here, "compete", flags),
        _client(here, "found", "/compete", asked, 'print(found["verdict"])'),
        [*(note for one in files.values() for note in _brought(one)), *_known_of(here, "compete")],
    )


def inspection(here: Here, text: str, vector: Named, layer: float | str, multiplier: float, form: Form) -> AsCode:
    """Views into the model. layer: one, or several as text."""
    options = chosen(InspectionRequest, form)
    at = layer if isinstance(layer, str) else int(layer)
    steer = f"({_literal(vector.name)}, {_literal(at)}, {_literal(float(multiplier))})"
    views = _call("views = caa.inspect", ["model", _literal(text), steer, *_keywords(options)])
    files = {"vector_file": vector} if vector.is_file else {}
    asked = {"text": text, "steer": _spec("file" if files else vector.name, layer, multiplier), **files, **options}
    return AsCode(
        _python(here, views, "print(views.lens.tokens)"),
        client=_client(here, "views", "/views", asked, 'print(views["lens"]["tokens"])'),
        notes=[*_brought(vector), *([KEY] if here.host else [])],
    )


def behaviours(here: Here, names: Sequence[str], form: Form, notes: Sequence[str] = ()) -> AsCode:
    """The paper's experiments on several behaviours, as one report."""
    flags = [*([name] for name in names), *_flags(PaperRequest, chosen(PaperRequest, form))]
    return AsCode(
        shell=_shell(here, "behaviours", [*flags, _flag("--out", "behaviours.html")]),
        notes=[*notes, *_known_of(here, "behaviours")],
    )


def study(here: Here, pairs: Named, items: Named, form: Form, columns: str = "") -> AsCode:
    """Positions and cues. form: also `most_pairs` and `most_items`, 0 for all."""
    typed = {name: ",".join(one) if name in ("positions", "reads") else one for name, one in form.items()}
    options = chosen(StudyRequest, {name: one for name, one in typed.items() if name not in ("pairs", "items")})
    flags = [_flag("--data", pairs.name), _flag("--test", items.name), *_flags(StudyRequest, options)]
    flags += [_flag("--columns", columns)] if columns and (pairs.is_file or items.is_file) else []
    for flag, name in (("--limit", "most_pairs"), ("--items", "most_items")):
        flags += [_flag(flag, int(form[name]))] if form[name] else []
    return AsCode(shell=_shell(here, "study", [*flags, _flag("--out", "study.html")]), notes=_known_of(here, "study"))


def open_questions(here: Here, vector: Named, questions: Named, limit: int, form: Form) -> AsCode:
    """Answers to open questions at several multipliers."""
    options = {**chosen(OpenQuestionsRequest, form), "layer": int(form["layer"])}
    flags = [_flag("--vector", vector.name), _flag("--questions", questions.name), *_limit(limit)]
    flags += _flags(OpenQuestionsRequest, options)
    notes = [*_brought(vector), *_known_of(here, "open")]
    return AsCode(shell=_shell(here, "open", [*flags, _flag("--out", "open.html")]), notes=notes)


def _plain(option: Option[Any], typed: Any) -> Any:
    """What was typed, as the kind of value that the option takes; several are a list."""
    if option.kind is tuple:
        return [*option.value(typed)]
    return typed.strip() if isinstance(typed, str) and option.kind is str else option.kind(typed)


def _brought(vector: Named) -> list[str]:
    return [f"{vector.name} is downloaded under Generate vectors."] if vector.is_file else []


def _known_of(here: Here, command: str) -> list[str]:
    """What is to be known of a command where the model runs at a host."""
    if not here.host:
        return []
    return [KEY if command in AT_HOST else HERE_ALONE]


def _literal(value: Any) -> str:
    """A value as Python has it, text in double quotes where that needs no more escapes."""
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    written = repr(value)
    return f'"{written[1:-1]}"' if isinstance(value, str) and '"' not in value else written


def _spec(source: str, layer: float | str, multiplier: float) -> str:
    """NAME:LAYER:MULTIPLIER."""
    return f"{source}:{layer if isinstance(layer, str) else int(layer)}:{_number(multiplier)}"


def _of_source(source: str, spec: str) -> str:
    """The same layer and number of another source."""
    return ":".join([source, *spec.rsplit(":", 2)[1:]])


def _number(value: float) -> str:
    """A number as it is typed: no point behind a whole one, all digits of others."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(float(value))


def _voice(side: Side) -> str:
    if not side.vector:
        return "None"
    layer = _literal(side.layer if isinstance(side.layer, str) else int(side.layer))
    return f"({_literal(side.vector.name)}, {layer}, {_literal(float(side.multiplier))})"


def _done(side: Side) -> str:
    """What is done with a voice's vector, where that is no addition."""
    done = str(OPERATION.value(side.operation))
    return done if side.vector and done != OPERATION.default else ""


def _data(function: str, data: Named, limit: int = 0, columns: str = "") -> str:
    given = [_literal(data.name), *([f"columns={_literal(columns)}"] if columns else [])]
    return f"caa.{function}({', '.join(given)})" + (f".first({limit})" if limit else "")


def _limit(limit: int) -> list[list[str]]:
    return [["--limit", str(limit)]] if limit else []


def _keywords(values: Mapping[str, Any]) -> list[str]:
    return [f"{name}={_literal(value)}" for name, value in values.items()]


def _call(function: str, arguments: Sequence[str]) -> str:
    """A call on one line, or with a line for each argument."""
    line = f"{function}({', '.join(arguments)})"
    return line if len(line) <= WIDE else "\n".join([f"{function}(", *(f"    {one}," for one in arguments), ")"])


def _python(here: Here, *lines: str) -> str:
    loaded = {name: value for name, value in (("dtype", here.dtype), ("host", here.host)) if value}
    load = _call("model = caa.load", [_literal(here.model), *_keywords(loaded)])
    return "\n".join(["import caa_core as caa", "", load, *lines])


def _client(here: Here, name: str, endpoint: str, asked: Mapping[str, Any], *lines: str) -> str:
    """asked: arguments, of which sources that are files are uploaded."""
    given = [f"{key}={_argument(value)}" for key, value in asked.items()]
    files = any(isinstance(value, Named) and value.is_file for value in asked.values())
    return "\n".join(
        [
            f"from gradio_client import Client{', handle_file' if files else ''}",
            "",
            f"app = Client({_literal(here.address)})",
            _call(f"{name} = app.predict", [*given, f"api_name={_literal(endpoint)}"]),
            *lines,
        ]
    )


def _argument(value: Any) -> str:
    if not isinstance(value, Named):
        return _literal(value)
    return f"handle_file({_literal(value.name)})" if value.is_file else _literal(value.name)


def _shell(here: Here, command: str, flags: Sequence[Sequence[str]]) -> str:
    model = [] if here.model == DEFAULT_MODEL else [_flag("--model", here.model)]
    dtype = [_flag("--dtype", here.dtype)] if here.dtype else []
    host = [_flag("--host", here.host)] if here.host and command in AT_HOST else []
    words = [" ".join(map(shlex.quote, flag)) for flag in [*flags, *model, *dtype, *host]]
    line = " ".join([f"caa {command}", *words])
    return line if len(line) <= WIDE else " \\\n    ".join([f"caa {command}", *words])


def _curl(here: Here, prompt: str, voice: tuple[str, int | str, float], options: Mapping[str, Any]) -> str:
    """The steered answer by OpenAI's way; nothing where the app does not answer so."""
    if not here.served:
        return ""
    steer = {"vector": voice[0], "layer": voice[1], "multiplier": float(_number(voice[2]))}
    told = [{"role": "system", "content": options["system"]}] if options.get("system") else []
    asked = {
        "model": here.served,
        "messages": [*told, {"role": "user", "content": prompt}],
        "max_tokens": _new_tokens(options),
        **{name: options[name] for name in ("temperature", "seed") if name in options},
        **({"chat_template_kwargs": {SWITCH: True}} if options.get("think") else {}),
        "steering": [{**steer, **{name: options[name] for name in BESIDE if name in options}}],
    }
    key = ['-H "Authorization: Bearer $CAA_API_KEY"'] if here.keyed else []
    fields = ",\n".join(f'  "{name}": {json.dumps(value, ensure_ascii=False)}' for name, value in asked.items())
    body = shlex.quote(f"{{\n{fields}\n}}")
    return " \\\n    ".join(
        [f"curl {shlex.quote(here.address.rstrip('/') + '/v1/chat/completions')}", *key, f"--json {body}"]
    )


def _llama(
    here: Here, prompt: str, vector: Named, layer: int | str, multiplier: float, options: Mapping[str, Any]
) -> str:
    """The vector's file for llama.cpp, and the steered answer by that; nothing with the first layer, at which it adds
    nothing. Of several layers the file has their shares.
    """
    layers = layers_named(str(layer))
    if not layers[0]:
        return ""
    out, shared = download_name(vector.name.removesuffix(".safetensors"), ".gguf"), ""
    if len(layers) > 1:
        shares = options.get("shares", SHARES.default)
        shared = " ".join(["", *_flag("--layers", layer), *_flag("--shares", shares)])
    if vector.is_file or here.model == DEFAULT_MODEL:
        # A name may begin with a dash.
        names = [f"./{name}" if name.startswith("-") else name for name in (vector.name, out)]
        made = " ".join(["caa convert", *map(shlex.quote, names)]) + shared
    else:
        plainly = download_name(vector.name, ".safetensors") if shared else out
        made = _shell(here, "extract", [_flag("--data", vector.name), _flag("--out", plainly)])
        made += f"\ncaa convert {plainly} {out}{shared}" if shared else ""
    flags = [
        ["-m", "model.gguf"],
        ["--control-vector-scaled", f"{out}:{_number(multiplier)}"],
        ["--control-vector-layer-range", f"{layers[0]}", f"{layers[-1]}"],
        *([["-sys", options["system"]]] if options.get("system") else []),
        ["-p", prompt],
        ["-st", "-n", f"{_new_tokens(options)}", "--temp", _number(options.get("temperature", 0))],
        *([["--seed", f"{options['seed']}"]] if "seed" in options else []),
    ]
    words = [" ".join(map(shlex.quote, flag)) for flag in flags]
    return "\n".join([LLAMA, made, " \\\n    ".join(["llama-cli", *words])])


def _new_tokens(options: Mapping[str, Any]) -> int:
    return options.get("max_new_tokens", SteeringRequest.options()["max_new_tokens"].default)


def _flag(flag: str, value: Any) -> list[str]:
    """An argument of the command line, whose value may begin with a dash."""
    text = _number(value) if isinstance(value, int | float) else str(value)
    return [f"{flag}={text}"] if text.startswith("-") or not text else [flag, text]


def _flags(request: type[Request], values: Mapping[str, Any]) -> list[list[str]]:
    """Values of a request's options, as `cli/arguments.py` adds the options."""
    found: list[list[str]] = []
    for name, value in values.items():
        option, dashed = request.options()[name], name.replace("_", "-")
        if isinstance(value, list):
            found += [_flag(option.flag or f"--{dashed}", one) for one in value]
        elif option.kind is bool:
            found.append([f"--{dashed}" if value else f"--no-{dashed}"])
        elif option.off and not value:
            found.append([f"--no-{dashed}"])
        else:
            found.append(_flag(option.flag or f"--{dashed}", value))
    return found
