"""A reader that comes to no end."""

from caa_core.data.parquet import answer


def work(raw: bytes) -> None:
    held = []
    while True:
        held.append(bytearray(1_000_000))


if __name__ == "__main__":
    answer(work)
