"""What a program asks in the way of OpenAI's chat completions, checked field by field. Nothing is left out in silence:
what would change an answer there, and is not done here, is refused.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from caa_core.errors import InputError
from caa_core.limits import ADDITIONS, PROMPT, TOKENS
from caa_core.metrics.grid import number, whole
from caa_core.metrics.options import GATE, SHARES, operation_of, positions_or_thought
from caa_core.metrics.vector_requests import SteeringRequest
from caa_core.model.prompts import SWITCH, Turn
from caa_core.steering.interventions import AFTER_PROMPT, Positions, layers_named, parse_spread
from caa_core.steering.operations import ADD, Operation

# New tokens where none are asked for: who asks for no number wants a whole answer, and others wait for the memory.
NEW_TOKENS = 512
MOST_STOPS, LONGEST_STOP = 4, 200
TOLD, SPOKEN = ("system", "developer"), ("user", "assistant")
# What a vector to be added says of itself.
PARTS = ("vector", "layer", "multiplier", "positions", "operation", "shares", "gate")
# What vLLM's and llama.cpp's servers hand on to the chat template, of which there is one thing here.
TEMPLATE = "chat_template_kwargs"
TAKEN = {
    *("messages", "model", "steering", "max_tokens", "max_completion_tokens"),
    *("temperature", "seed", "stop", "stream", "stream_options", TEMPLATE),
}
# Fields that say nothing about the answer.
ASIDE = {
    *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"),
    *("tool_choice", "parallel_tool_calls"),
}
# What there is only one of here.
ONLY: dict[str, Any] = {
    "n": 1,
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logprobs": False,
    "top_logprobs": 0,
    "logit_bias": {},
    "tools": [],
    "response_format": {"type": "text"},
    "modalities": ["text"],
}


@dataclass(frozen=True)
class Addition:
    """A vector that is to be added, by its name; where layers or multiplier are None, the recommended ones count.

    shares: of the multiplier, where there are several layers. gate: NAME:LAYER:THRESHOLD, or nothing.
    """

    name: str
    layers: tuple[int, ...] | None = None
    multiplier: float | None = None
    positions: Positions = AFTER_PROMPT
    operation: Operation = ADD
    shares: str = SHARES.default
    gate: str = GATE.default

    @classmethod
    def of(cls, given: Any) -> Self:
        """From "NAME:LAYER:MULTIPLIER", or an object with some of `PARTS`. Raises InputError for anything else."""
        if isinstance(given, str):
            return cls(*parse_spread(given))
        if not isinstance(given, dict) or not isinstance(name := given.get("vector"), str):
            raise InputError(
                'steering: give a list of vectors, such as {"vector": "joy", "layer": 12, "multiplier": 2}.'
            )
        if unknown := given.keys() - set(PARTS):
            raise InputError(f"steering: {_first(unknown)} is not one of {', '.join(PARTS)}.")
        layer, multiplier, positions, done, shares, gate = (given.get(part) for part in PARTS[1:])
        return cls(
            name,
            None if layer is None else _layers(layer),
            None if multiplier is None else number(multiplier, "steering: the multiplier"),
            AFTER_PROMPT if positions is None else positions_or_thought(str(positions)),
            ADD if done is None else operation_of(str(done)),
            SHARES.value(shares),
            GATE.value(gate),
        )


@dataclass(frozen=True, kw_only=True)
class ChatRequest(SteeringRequest):
    """What is asked. prompt: what the user says last. turns: all that was said, up to that. model: its name; any where
    that is empty. any_length: whether no number of new tokens was asked for, so that there may be fewer. stops: words
    before which the answer ends. counts: whether a stream ends with how many tokens there were.
    """

    turns: tuple[Turn, ...]
    steering: tuple[Addition, ...] = ()
    model: str = ""
    any_length: bool = False
    stops: tuple[str, ...] = ()
    stream: bool = False
    counts: bool = False

    @classmethod
    def of(cls, given: Any) -> Self:
        """From what JSON says. Raises InputError for what cannot be, or is more than this app takes."""
        if not isinstance(given, dict):
            raise InputError("Send one JSON object, with messages.")
        _check_fields(given)
        system, turns = _conversation(given.get("messages"))
        PROMPT.check(len(system) + sum(len(turn["content"]) for turn in turns))
        length = _either(given, "max_completion_tokens", "max_tokens")
        TOKENS.check(whole(length, "The number of new tokens"))
        steering = _additions(given.get("steering"))
        options, model = given.get("stream_options") or {}, given.get("model")
        if not isinstance(options, dict) or not isinstance(model, str | None):
            raise InputError("model is the name of a model, and stream_options an object.")
        return cls.parse(
            prompt=turns[-1]["content"],
            system=system,
            positions=steering[0].positions if steering else AFTER_PROMPT,
            gate=steering[0].gate if steering else GATE.default,
            max_new_tokens=min(NEW_TOKENS, TOKENS.value) if length is None else length,
            think=_thinks(given.get(TEMPLATE)),
            temperature=given.get("temperature") or 0,
            seed=given.get("seed") or 0,
            turns=turns,
            steering=steering,
            model=model or "",
            any_length=length is None,
            stops=_stops(given.get("stop")),
            stream=bool(given.get("stream")),
            counts=bool(options.get("include_usage")),
        )


def _check_fields(given: Mapping[str, Any]) -> None:
    for name, only in ONLY.items():
        if given.get(name) not in (None, only):
            raise InputError(f"{name}: there is nothing but {json.dumps(only)} here; leave it out.")
    if unknown := given.keys() - TAKEN - ASIDE - ONLY.keys():
        raise InputError(f"There is no field {_first(unknown)} here. What there is beside OpenAI's is steering.")


def _first(unknown: set[str]) -> str:
    return repr(min(unknown)[:60])


def _either(given: Mapping[str, Any], *names: str) -> Any:
    return next((given[name] for name in names if given.get(name) is not None), None)


def _layers(given: Any) -> tuple[int, ...]:
    """One layer, or several as text."""
    return layers_named(given) if isinstance(given, str) else (whole(given, "steering: the layer"),)


def _additions(given: Any) -> tuple[Addition, ...]:
    if not isinstance(given, list | None):
        raise InputError("steering: give a list of vectors.")
    ADDITIONS.check(len(given or ()))
    found = tuple(map(Addition.of, given or ()))
    if len(rules := {str(one.positions) for one in found}) > 1:
        raise InputError(
            f"steering: all vectors are added at the same positions, not at {' and '.join(sorted(rules))}."
        )
    if len({one.gate for one in found}) > 1:
        raise InputError("steering: one gate holds for all vectors: give the same one with each of them.")
    return found


def _conversation(given: Any) -> tuple[str, tuple[Turn, ...]]:
    """What the model is told, and the turns."""
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise InputError('messages: give a list of messages, such as {"role": "user", "content": "Hi"}.')
    told: list[str] = []
    turns: list[Turn] = []
    for one in given:
        role, text = one.get("role"), _text(one.get("content"))
        if role in SPOKEN:
            turns.append({"role": role, "content": text})
        elif role in TOLD and not turns:
            told.append(text)
        elif role in TOLD:
            raise InputError(f"messages: what a {role} says stands before all that is said.")
        else:
            raise InputError(f"messages: a role is one of {', '.join((*TOLD, *SPOKEN))}, not {str(role)[:60]!r}.")
    if not turns or turns[-1]["role"] != "user":
        raise InputError("messages: the last one is the user's, which is answered.")
    return "\n\n".join(told), tuple(turns)


def _text(content: Any) -> str:
    """A content as it is, or of its parts; none is empty."""
    parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    texts = [one.get("text") for one in parts if isinstance(one, dict) and one.get("type") == "text"]
    known = [text for text in texts if isinstance(text, str)]
    if len(known) < len(parts):
        raise InputError("messages: this app reads text, so a content is text, or a list of parts that are.")
    text = "".join(known)
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can name half of a letter, which no tokenizer takes
        raise InputError("messages: there is half a letter in a text.") from error
    return text


def _thinks(given: Any) -> bool:
    """Whether the model is to think first."""
    chosen = given or {}
    if not isinstance(chosen, dict) or chosen.keys() - {SWITCH} or not isinstance(chosen.get(SWITCH, False), bool):
        raise InputError(f"{TEMPLATE}: give an object with {SWITCH}, true or false, and nothing else.")
    return chosen.get(SWITCH, False)


def _stops(given: Any) -> tuple[str, ...]:
    stops = [given] if isinstance(given, str) else given or []
    fits = isinstance(stops, list) and len(stops) <= MOST_STOPS
    if not fits or not all(isinstance(stop, str) and 0 < len(stop) <= LONGEST_STOP for stop in stops):
        raise InputError(f"stop: give up to {MOST_STOPS} texts of up to {LONGEST_STOP} letters.")
    return tuple(stops)
