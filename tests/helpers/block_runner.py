"""A process that runs blocks as an NDIF host does: it has nnsight and models, and nothing of this project.

Reads a model's folder and a blob by turns, each behind its length; writes frames of a kind, a length and bytes: what
the block printed, line by line (P), and its result (R) or what it failed of (E).
"""

import contextlib
import functools
import io
import struct
import sys
import traceback

import torch
import zstandard
from nnsight import TransformersModel
from nnsight.schema.request import RequestModel
from nnsight.tracing.tracer import _saves, dec, inc
from transformers import AutoTokenizer

FROM, TO = sys.stdin.buffer, sys.stdout.buffer


def send(kind: bytes, content: bytes) -> None:
    TO.write(kind + struct.pack(">Q", len(content)) + content)
    TO.flush()


class Lines(io.TextIOBase):
    """What a block prints."""

    rest = ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            send(b"P", line.encode())
        return len(text)


def saved(nn: TransformersModel, blob: bytes) -> bytes:
    """What a block keeps, by the steps of ndif's own actor."""
    tracer = RequestModel.deserialize(blob, nn._remoteable_persistent_objects(), compress=True)
    inc()
    try:
        tracer.execute(tracer.info.code)
        kept = _saves()
        found = {name: value for name, value in tracer.info.frame.f_locals.items() if id(value) in kept}
    finally:
        dec()
    written = io.BytesIO()
    torch.save(found, written)
    return zstandard.ZstdCompressor().compress(written.getvalue())


@functools.cache
def model(folder: str) -> TransformersModel:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    nn = TransformersModel(folder, tokenizer=tokenizer, task="text-generation", dispatch=True, dtype=torch.float32)
    nn._module.requires_grad_(False)
    return nn


def read() -> bytes:
    header = FROM.read(8)
    return FROM.read(struct.unpack(">Q", header)[0]) if header else b""


def main() -> None:
    assert not any("caa_core" in name for name in sys.modules)
    while folder := read().decode():
        blob = read()
        try:
            with contextlib.redirect_stdout(Lines()):
                found = saved(model(folder), blob)
        except Exception:
            send(b"E", traceback.format_exc().encode())
        else:
            send(b"R", found)


if __name__ == "__main__":
    main()
