"""How often each sentence is said where nothing is so, and where something is.

    python -m benchmarks.nulls [--runs N] [--vectors N] [--model MODEL] [--only PART ...] [NAME ...]

In simulation, and on a model with vectors without effect for each of the presets NAME ("joy", "joy:ab").
"""

import argparse
from collections.abc import Mapping, Sequence

from benchmarks.nulls import measure, methods, scores, studies
from caa_core.data.presets import presets
from caa_core.model.catalog import DEFAULT_MODEL
from caa_core.model.loading import SteerableModel, load

PARTS = ("measure", "studies", "methods", "scores")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="of the simulation; 0 for none")
    parser.add_argument("--vectors", type=int, default=200, help="of each kind, on the model; 0 for none")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("names", nargs="*", default=["joy", "formal", "refusal", "joy:ab"], metavar="NAME")
    options = parser.parse_args()
    if options.runs:
        for part in options.only:
            SIMULATED[part](options.runs)
    if options.vectors:
        model = load(options.model, "float32")
        for part in options.only:
            if part in ON_MODEL:
                ON_MODEL[part](model, options.names, options.vectors)


def _measure(runs: int) -> None:
    _head("prompts", "spread", "effect", "said")
    for effect in (0.0, 1.5):
        for prompts in (8, 20, 40):
            for spread in (0.0, 0.3, 0.6):
                _row(prompts, spread, effect, _in_words(measure.simulate(runs, prompts, spread, effect)))


def _studies(runs: int) -> None:
    _head("prompts", "effects of arms", *studies.SENTENCES)
    for prompts in (8, 12, 20):
        for effects in ((0,) * 4, (1.2,) * 4, (1.8,) * 4, (3,) * 4, (0, 3, 3, 3), (1.8, 1.8, 1.8, 5)):
            said = studies.simulate(runs, prompts, len(effects), effects)
            _row(prompts, " ".join(map(str, effects)), *_shares(said))


def _methods(runs: int) -> None:
    _head("prompts", "signal", *methods.SENTENCES)
    for prompts in (8, 20):
        for signal in (0.0, 1.0):
            _row(prompts, signal, *_shares(methods.simulate(max(1, runs // 10), prompts, signal=signal)))


def _scores(runs: int) -> None:
    _head("prompts", *scores.SENTENCES)
    for prompts in (8, 12, 20, 40):
        _row(prompts, *_shares(scores.simulate(max(1, runs // 4), prompts)))


def _measure_on(model: SteerableModel, names: Sequence[str], vectors: int) -> None:
    _head("items", "vectors", "said")
    for name in names:
        for kind, said in measure.on_model(model, name, vectors).items():
            _row(name, f"{vectors} {kind}", _in_words(said))


def _studies_on(model: SteerableModel, names: Sequence[str], vectors: int) -> None:
    _head("study of", "vectors", "any arm is told from controls")
    for name in names:
        layer = presets()[name.partition(":")[0]].layer
        _row(name, vectors, f"{studies.on_model(model, name, [layer], vectors):.1%}")


def _methods_on(model: SteerableModel, names: Sequence[str], vectors: int) -> None:
    _head("pairs", "drawn", *methods.SENTENCES)
    for name in names:
        count = max(1, vectors // 10)
        _row(name, count, *_shares(methods.on_model(model, name, [6, 12, 18, 24], count)))


SIMULATED = {"measure": _measure, "studies": _studies, "methods": _methods, "scores": _scores}
ON_MODEL = {"measure": _measure_on, "studies": _studies_on, "methods": _methods_on}


def _head(*cells: object) -> None:
    print()
    _row(*cells)
    _row(*("---" for _ in cells))


def _row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def _shares(said: Mapping[str, float]) -> list[str]:
    return [f"{share:.1%}" for share in said.values()]


def _in_words(said: Mapping[str, float]) -> str:
    return ", ".join(f"{sentence} {share:.1%}" for sentence, share in said.items())


if __name__ == "__main__":
    main()
