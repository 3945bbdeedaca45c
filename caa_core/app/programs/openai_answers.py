"""Answers as programs read them that know OpenAI's chat completions: as one JSON object, or as events."""

import asyncio
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Message, Send

from caa_core.app.guards import in_openai_shape
from caa_core.app.programs.chat_request import ChatRequest

# A client that takes nothing of its answer for so long has left.
SECONDS_TO_TAKE = 60


@dataclass(frozen=True)
class Written:
    """How far an answer has come.

    prompt, tokens: how many tokens what was said has, and the answer without the one that ends it; thinking: how many
    of these are thought. reason: why it has ended, "stop" or "length"; empty while it goes on. added: which vectors,
    where and how strongly. notes: on vectors that may not fit, and on what is not whole. thought: before the answer.
    """

    text: str
    prompt: int
    tokens: int
    thinking: int
    reason: str
    added: Sequence[Mapping[str, Any]]
    notes: Sequence[str]
    thought: str = ""

    @property
    def usage(self) -> dict[str, Any]:
        """Tokens as they are counted there."""
        total = self.prompt + self.tokens
        found = {"prompt_tokens": self.prompt, "completion_tokens": self.tokens, "total_tokens": total}
        return {**found, "completion_tokens_details": {"reasoning_tokens": self.thinking}} if self.thinking else found

    @property
    def beside(self) -> dict[str, Any]:
        """What is said beside what OpenAI says."""
        return {"steering": [*self.added], **({"notes": [*self.notes]} if self.notes else {})}


@dataclass
class Connection:
    """What a client is sent, by the thread that answers it, as JSON or as events.

    Raises ClientDisconnect where it takes nothing any more.
    """

    send: Send
    loop: asyncio.AbstractEventLoop
    begun: bool = False

    def whole(self, data: Any, status: int = 200) -> None:
        """All of it at once."""
        # Letters beyond ASCII are written as numbers, since a sentence may quote what is no letter.
        body = json.dumps(data).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        self._send({"type": "http.response.start", "status": status, "headers": headers})
        self._send({"type": "http.response.body", "body": body})

    def event(self, data: Any) -> None:
        """One part."""
        if not self.begun:
            self.begun = True
            headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
            self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self._event(json.dumps(data), True)

    def end(self) -> None:
        """No more parts."""
        self._event("[DONE]", False)

    def error(self, said: str, status: int, code: str | None) -> None:
        """A sentence in place of the rest."""
        found = in_openai_shape(said, status, code)
        if self.begun:
            self.event(found)
            self.end()
        else:
            self.whole(found, status)

    def _event(self, data: str, more: bool) -> None:
        self._send({"type": "http.response.body", "body": f"data: {data}\n\n".encode(), "more_body": more})

    def _send(self, message: Message) -> None:
        async def sent() -> None:
            await self.send(message)

        sending = asyncio.run_coroutine_threadsafe(sent(), self.loop)
        try:
            sending.result(SECONDS_TO_TAKE)
        except Exception as error:  # it takes nothing, or the server is being ended
            sending.cancel()
            raise ClientDisconnect from error


@dataclass
class Telling:
    """How a client is told of an answer: as a stream, or when it is whole. A thought is its reasoning_content, as other
    servers of open models have it.
    """

    asked: ChatRequest
    connection: Connection
    model: str
    said: dict[str, str] = field(default_factory=dict)
    name: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def so_far(self, written: Written) -> None:
        """Send what is new."""
        if not self.asked.stream or not (written.tokens or written.reason):
            return
        if not self.connection.begun:
            self._chunk({"role": "assistant", "content": ""})
        for part, text in (("reasoning_content", written.thought), ("content", written.text)):
            said = self.said.get(part, "")
            # What a tokenizer takes back of what it wrote cannot be.
            if text.startswith(said) and text != said:
                self._chunk({part: text[len(said) :]})
                self.said[part] = text

    def whole(self, written: Written) -> None:
        """Send the end of it, or all."""
        if not self.asked.stream:
            thought = {"reasoning_content": written.thought} if written.thinking else {}
            message = {"role": "assistant", "content": written.text, "refusal": None, **thought}
            choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": written.reason}
            self.connection.whole({**self._about(""), "choices": [choice], "usage": written.usage, **written.beside})
            return
        self._chunk({}, written.reason, written.beside)
        if self.asked.counts:
            self.connection.event({**self._about(".chunk"), "choices": [], "usage": written.usage})
        self.connection.end()

    def _chunk(self, delta: Mapping[str, str], reason: str = "", beside: Mapping[str, Any] | None = None) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason or None}
        self.connection.event({**self._about(".chunk"), "choices": [choice], **(beside or {})})

    def _about(self, part: str) -> dict[str, Any]:
        kind = f"chat.completion{part}"
        return {"id": self.name, "object": kind, "created": self.created, "model": self.model}
