"""The app as OpenAI's own client asks it."""

import http.client
import itertools
import json
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlparse

import httpx2
import openai
import pytest

from caa_core.app import traffic
from caa_core.app.keys.classrooms import Rules
from caa_core.app.keys.tries import Tries
from caa_core.app.panels.common import recommended
from caa_core.app.programs.completions import OFF, STOPPED, until_stop, without_begun
from caa_core.app.sessions import Person
from caa_core.measuring.judging.asking import Judge
from caa_core.measuring.judging.axes import ScoreAsked
from caa_core.model.prompts import ask, render
from caa_core.progress import finish
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate
from caa_core.steering.interventions import Positions, Steer
from caa_core.steering.operations import Operation
from tests.helpers.app import client_of, post
from tests.helpers.waiting import until

QUESTION = "How was your day?"
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": QUESTION},
    {"role": "assistant", "content": "Good."},
    {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "yours?"}]},
]
KEY = "a long key"


@contextmanager
def client(app, key="none", **headers):
    with httpx2.Client(verify=False, timeout=300) as web:
        address = f"{app.url}v1"
        yield openai.OpenAI(base_url=address, api_key=key, http_client=web, max_retries=0, default_headers=headers)


@pytest.fixture
def program(tiny_app):
    with client(tiny_app) as program:
        yield program


def create(program, messages=QUESTION, steering=(), **more):
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    asked = {"model": "tiny", "messages": messages, "max_tokens": 12, **more}
    return program.chat.completions.create(**asked, extra_body={"steering": [*steering]} if steering else None)


def streamed(program, *given, **more):
    """The parts of a stream."""
    return list(create(program, *given, stream=True, stream_options={"include_usage": True}, **more))


def text_of(parts):
    return "".join(part.choices[0].delta.content or "" for part in parts if part.choices)


def refusal(program, *given, kind=openai.BadRequestError, **more):
    """What is said in place of an answer, which has OpenAI's shape."""
    with pytest.raises(kind) as caught:
        create(program, *given, **more)
    error = caught.value
    assert {*error.body} == {"message", "type", "param", "code"} and error.response.headers["content-type"] == JSON
    return error.body["message"]


JSON = "application/json"


def test_an_answer_is_that_of_the_page_and_of_the_endpoint(program, tiny_app):
    found = client_of(tiny_app).predict(
        prompt=QUESTION, steer=["joy:1:1.5", "gloom:2:-1"], max_new_tokens=12, api_name="/steer"
    )
    vectors = [{"vector": "joy", "layer": 1, "multiplier": 1.5}, "gloom:2:-1"]
    for name, steering in (("unsteered", []), ("steered", vectors)):
        said = create(program, steering=steering)
        choice = said.choices[0]
        assert choice.message.content == found[name] and choice.message.role == "assistant"
        prompt = len(ask(tiny_app.studio.model.tokenizer, QUESTION).ids)
        tokens = len(found[f"{name}_tokens"])
        assert (said.usage.prompt_tokens, said.usage.completion_tokens) == (prompt, tokens)
        assert said.usage.total_tokens == prompt + tokens
        assert choice.finish_reason == ("length" if tokens == 12 else "stop") and said.model == "tiny"
        parts = streamed(program, steering=steering)
        assert text_of(parts) == found[name] and parts[0].choices[0].delta.role == "assistant"
        assert parts[-2].choices[0].finish_reason == choice.finish_reason
        assert parts[-1].usage == said.usage and not any(part.usage for part in parts[:-1])
        assert len({part.id for part in parts}) == 1
    assert found["steered"] != found["unsteered"]
    assert (
        said.steering
        == parts[-2].steering
        == [
            {"vector": "joy", "layer": 1, "multiplier": 1.5, "positions": "after-prompt", "operation": "add"},
            {"vector": "gloom", "layer": 2, "multiplier": -1.0, "positions": "after-prompt", "operation": "add"},
        ]
    )


def test_a_chat_with_all_that_can_be_set(program, tiny_app):
    """Also what is left out: layer and multiplier are those that are recommended."""
    model, vector = tiny_app.studio.model, tiny_app.vector("joy")
    layer, multiplier = recommended(tiny_app.studio, "joy")
    turns = [{"role": "user", "content": QUESTION}, CHAT[2], {"role": "user", "content": "And yours?"}]
    row = BatchRow(
        render(model.tokenizer, turns, "Be brief."),
        (Steer(vector.at(layer), layer, multiplier, Operation("keep-norm")),),
        Positions("all"),
    )
    (expected,) = finish(generate(model, [row], Decoding(9, 0.7, 5)))
    more = {"temperature": 0.7, "seed": 5, "max_completion_tokens": 9, "max_tokens": None, "n": 1, "user": "me"}
    said = create(program, CHAT, [{"vector": "joy", "positions": "all", "operation": "keep-norm"}], **more)
    assert said.choices[0].message.content == expected.text
    assert said.usage.prompt_tokens == len(row.prompt.ids)
    where = {"layer": layer, "multiplier": multiplier, "positions": "all", "operation": "keep-norm"}
    assert said.steering == [{"vector": "joy", **where}]


@pytest.mark.parametrize(("threshold", "like"), [("-1e9", "steered"), ("1e9", "unsteered")])
def test_a_gate_that_is_always_open_or_shut(program, tiny_app, threshold, like):
    asked, gate = {"prompt": QUESTION, "steer": ["joy:2:9"], "max_new_tokens": 12}, f"gloom:1:{threshold}"
    client = client_of(tiny_app)
    plain, found = (client.predict(**asked, gate=one, api_name="/steer") for one in ("", gate))
    said = create(program, steering=[{"vector": "joy", "layer": 2, "multiplier": 9, "gate": gate}])
    assert (
        said.choices[0].message.content
        == found["steered"]
        == plain[like]
        != plain["steered" if like != "steered" else "unsteered"]
    )
    assert set(found["gate"]["open"]) == {like == "steered"} and "gate" not in plain
    assert said.steering[0]["gate"] == gate


def test_several_layers_are_steered_as_by_the_endpoint(program, tiny_app):
    how = {"operation": "keep-norm", "shares": "norm"}
    for more in ({}, how):
        asked = {"prompt": QUESTION, "steer": ["joy:1-2:6"], "max_new_tokens": 12, **more}
        found = client_of(tiny_app).predict(**asked, api_name="/steer")
        steering = [{"vector": "joy", "layer": "1-2", "multiplier": 6, **more} if more else "joy:1-2:6"]
        said = create(program, steering=steering)
        assert said.choices[0].message.content == found["steered"] != found["unsteered"]
        assert said.steering[0]["layer"] == [1, 2] and said.steering[0]["shares"] == more.get("shares", "equal")


def test_a_vector_of_the_library_has_its_name_there(tiny_app, monkeypatch):
    monkeypatch.setenv("CAA_PROXIES", "1")
    owner = Person()
    owner.keep(replace(tiny_app.vector("joy"), name="mine"))
    monkeypatch.setattr(tiny_app.studio.sessions, "_owner", owner)
    with client(tiny_app, **{"X-Forwarded-For": "203.0.113.77"}) as program:
        assert "mine" in program.models.list().data[0].vectors
        mine, joy = (create(program, steering=[f"{name}:1:6"]) for name in ("mine", "joy"))
        assert (
            mine.choices[0].message.content == joy.choices[0].message.content and mine.steering[0]["vector"] == "mine"
        )


def test_an_answer_ends_before_a_stop(program):
    whole = create(program, max_tokens=30).choices[0].message.content
    stop = whole[len(whole) // 2 :][:3]
    before = whole[: whole.index(stop)]
    said = create(program, max_tokens=30, stop=[stop, "never said"])
    assert (said.choices[0].message.content, said.choices[0].finish_reason) == (before, "stop")
    assert text_of(streamed(program, max_tokens=30, stop=stop)) == before
    assert until_stop("one two one", ["two", "ne"]) == ("o", True)
    assert without_begun("say <en", ["<end>", "say"]) == "say " and without_begun("say ", ["x"]) == "say "


def test_without_a_number_of_tokens_there_are_as_many_as_fit(program, tiny_app, monkeypatch):
    monkeypatch.setattr(type(tiny_app.studio.model), "context_length", property(lambda model: 40))
    said = create(program, max_tokens=None)
    assert said.choices[0].finish_reason == "stop" or said.usage.total_tokens == 40
    assert "more than the 40 that tiny takes" in refusal(program, max_tokens=40)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"messages": []}, "messages: give a list of messages"),
        ({"messages": CHAT[:3]}, "the last one is the user's"),
        ({"messages": [CHAT[1], CHAT[0], CHAT[1]]}, "what a system says stands before all that is said"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "a role is one of system, developer, user, assistant"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "this app reads text"),
        ({"messages": " "}, "The prompt is empty"),
        ({"messages": "word " * 9000}, "Shorten it"),
        ({"max_tokens": 100_000}, "100,000 new tokens in an answer are too many; this app takes"),
        ({"temperature": 11}, "The temperature must be between 0 and 10"),
        ({"n": 2}, "n: there is nothing but 1 here"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools: there is nothing but [] here"),
        ({"stop": ["a"] * 5}, "stop: give up to 4 texts"),
        ({"extra_body": {"steerings": []}}, "There is no field 'steerings' here"),
        ({"steering": ["joy"]}, "'joy' is not FILE:LAYER:MULTIPLIER"),
        ({"steering": [{"vector": "nobody"}]}, "There is no vector 'nobody' here"),
        ({"steering": [{"vector": "joy", "layer": 77}]}, "no layer 77"),
        ({"steering": [{"vector": "joy", "layer": 1.5}]}, "steering: the layer must be a whole number"),
        ({"steering": [{"vector": "joy", "strength": 1}]}, "'strength' is not one of vector, layer, multiplier"),
        ({"steering": [{"vector": "joy", "positions": "nowhere"}]}, "There are no steered positions 'nowhere'"),
        ({"steering": ["joy:1:1", {"vector": "joy", "positions": "all"}]}, "not at after-prompt and all"),
        ({"steering": ["joy:1:1", {"vector": "joy", "gate": "joy:1:0"}]}, "one gate holds for all vectors"),
        ({"steering": [{"vector": "joy", "gate": "joy"}]}, "'joy' is no gate"),
        ({"steering": [{"vector": "joy", "layer": 1, "gate": "joy:2:0"}]}, "is read too late"),
        ({"steering": ["joy:1:1"] * 101}, "101 vectors added at once are too many"),
        ({"steering": ["joy:1:1e60"]}, "overflowed while it wrote"),
    ],
)
def test_what_cannot_be_is_an_error_in_a_sentence(tiny_app, asked, said):
    with client(tiny_app) as program:
        if body := asked.get("extra_body"):
            with pytest.raises(openai.BadRequestError, match=said):
                program.chat.completions.create(
                    model="tiny", messages=[{"role": "user", "content": "Hi"}], extra_body=body
                )
        else:
            assert said in refusal(program, **asked) and said in refusal(program, **asked, stream=True)


def test_what_is_no_request_is_an_error_of_the_same_shape(tiny_app):
    at = f"{tiny_app.url}v1/chat/completions"
    for given, status, said in (
        ({"content": b"{"}, 400, "this is no JSON"),
        ({"json": [1]}, 400, "Send one JSON object"),
        ({"content": b'{"messages":[{"role":"user","content":"\\ud800"}]}'}, 400, "half a letter"),
        ({"json": {}, "headers": {"sec-fetch-site": "cross-site"}}, 403, "Another site may not use this app"),
        ({"content": b"[" + b"[]," * 200_000 + b"[]]"}, 413, "too many lists"),
        ({"content": iter([b"{}"])}, 411, "Say how long the request is"),
    ):
        found = post(at, **given)
        assert found.status_code == status and said in found.json()["error"]["message"], given


def test_which_model_there_is(program, tiny_app):
    (model,) = program.models.list().data
    assert model.id == "tiny" == program.models.retrieve("tiny").id and {"joy", "gloom"} <= {*model.vectors}
    with pytest.raises(openai.NotFoundError, match="not loaded here: this app has tiny"):
        program.models.retrieve("gpt-4/o")
    said = refusal(program, model="gpt-4", kind=openai.NotFoundError)
    assert said == "The model 'gpt-4' is not loaded here: this app has tiny."


def test_the_judge_of_open_questions_can_ask_the_app(tiny_app):
    judge = Judge(f"{tiny_app.url}v1", "", "tiny")
    with judge.client() as web:
        asked = ScoreAsked("fluency", "joy", "How are you?", "Fine.")
        assert judge.rate(web, asked) is None  # a random model gives no score


def test_where_there_is_a_key_it_is_asked_for(tiny_app, monkeypatch):
    monkeypatch.setattr(tiny_app.studio, "programs", Tries(itertools.count(step=100).__next__))  # nobody waits here
    monkeypatch.setenv("CAA_API_KEY", KEY)
    with client(tiny_app, "guess") as stranger, client(tiny_app, KEY) as program:
        assert "takes another key" in refusal(stranger, kind=openai.AuthenticationError)
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()
        assert create(program).choices and program.models.list().data
    monkeypatch.setattr(tiny_app.studio, "programs", Tries(lambda: 0.0))
    with client(tiny_app, "guess") as stranger, client(tiny_app, KEY) as program:
        refusal(stranger, kind=openai.AuthenticationError)
        assert "Too many wrong keys" in refusal(program, kind=openai.AuthenticationError)


def test_on_a_public_app_it_is_off_unless_it_is_switched_on(tiny_app, monkeypatch):
    monkeypatch.setenv("CAA_PUBLIC", "1")
    with client(tiny_app) as program:
        assert refusal(program, kind=openai.PermissionDeniedError) == OFF
        with pytest.raises(openai.PermissionDeniedError):
            program.models.list()
        monkeypatch.setenv("CAA_API", "1")
        assert create(program).choices
        assert "513 new tokens" in refusal(program, max_tokens=513)
        monkeypatch.setenv("CAA_PUBLIC", "0")
        monkeypatch.setenv("CAA_API", "0")
        assert refusal(program, kind=openai.PermissionDeniedError) == OFF


def test_in_a_class_of_everybody_its_rules_count(tiny_app):
    rules = Rules("Steering", "ocean", ("gloom",), limits={"CAA_MAX_TOKENS": 12}, texts=frozenset([QUESTION]))
    studio = tiny_app.studio
    room = studio.classes.open(Rules(**{**vars(rules), "everybody": True, "free_prompts": False}), KEY)
    try:
        with client(tiny_app) as program:
            assert create(program, steering=["gloom:1:1"]).choices
            assert "13 new tokens" in refusal(program, max_tokens=13)
            assert "joy is no part of this class" in refusal(program, steering=["joy:1:1"])
            assert "only the examples can be asked" in refusal(program, "Another?")
            assert "gloom" in (vectors := program.models.list().data[0].vectors) and "joy" not in vectors
    finally:
        studio.classes.end(room)


def test_one_address_has_as_many_answers_as_the_page_s_limits_let_it(tiny_app, monkeypatch):
    monkeypatch.setenv("CAA_PROXIES", "1")
    monkeypatch.setenv("CAA_MAX_JOBS", "2")
    here = {"X-Forwarded-For": "203.0.113.9"}
    with client(tiny_app, **here) as program, tiny_app.holding(3):
        first, second = (create(program, stream=True, max_tokens=200, temperature=1) for _ in range(2))
        assert next(first).choices and next(second).choices
        assert "3 jobs at once of one person" in refusal(program, kind=openai.RateLimitError)
        monkeypatch.setenv("CAA_MAX_ALL_JOBS", "4")
        monkeypatch.setenv("CAA_MAX_JOBS", "9")
        assert "Half of what this app does" in refusal(program, kind=openai.RateLimitError)
        monkeypatch.setattr(traffic, "calls_at_once", lambda: 4)
        assert "Too much is asked for at once" in refusal(program, kind=openai.RateLimitError)
        # Somebody elsewhere is answered.
        with client(tiny_app, **{"X-Forwarded-For": "198.51.100.1"}) as other:
            assert next(create(other, stream=True)).choices
        first.close(), second.close()
        until(lambda: tiny_app.jobs == 0)
    assert tiny_app.studio.sessions.running() == []


def test_an_answer_ends_when_its_client_leaves(program, tiny_app):
    with tiny_app.holding(3):
        stream = create(program, stream=True)
        assert next(stream).choices and tiny_app.jobs == 1
        stream.close()
        until(lambda: tiny_app.jobs == 0)
        # And before anything came.
        connection = http.client.HTTPConnection(urlparse(tiny_app.url).netloc, timeout=300)
        body = json.dumps({"messages": [{"role": "user", "content": "Hi"}]})
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": JSON})
        until(lambda: tiny_app.jobs == 1)
        connection.close()
        until(lambda: tiny_app.jobs == 0)


def test_an_answer_that_is_stopped_says_so(program, tiny_app):
    with tiny_app.holding(3):
        stream = create(program, stream=True)
        next(stream)
        (job,) = tiny_app.studio.sessions.running()
        job.stop()
        with pytest.raises(openai.APIError, match=STOPPED):
            list(stream)
        stream = create(program, stream=True)
        next(stream)
        (job,) = tiny_app.studio.sessions.running()
        job.stop("It has run too long.")
        with pytest.raises(openai.APIError, match="It has run too long"):
            list(stream)
