"""One procedure for every verdict: chosen on one half, judged on the other, in turns, as controls are.

A vector's layer is chosen by the size of its first-order estimate (`steering/gradients.py`) on one half of the items
and its estimate there is taken on the other half; then the halves change places. T is the mean of the two. Controls,
vectors that should do nothing, choose among the same layers by the same rule, so that the rank of T among theirs has
the error rate that it says, whatever the statistic (Phipson and Smyth, arXiv 1603.05766). How large an effect is, is
another question, for exact passes at the layers that were chosen.
"""

from collections.abc import Sequence

import numpy as np

from caa_core.metrics.estimates import LEAST, Estimate, objections

# Controls of a kind, at least. They cost no pass of the model.
CONTROLS = 999

# Prompts below which there is a figure and no verdict.
ENOUGH_PROMPTS = 8

# p up to which an effect is called one.
LEVEL = 0.05

# How far two sums of the same numbers in another order differ, beside the sum: a tie.
TIE = 1e-5

# How many times its first-order estimate a size may be for p, which is the estimate's, to speak for it.
BEYOND = 2.0

EFFECT, UNDECIDED, NONE_SHOWN = "effect", "not decided", "none shown"


TOO_FEW = "too few for a verdict"


def too_few(prompts: int, what: str = "prompt") -> str:
    """Why so many prompts get a figure and no verdict; empty where they are enough."""
    if prompts >= ENOUGH_PROMPTS:
        return ""
    are = f"{what} is" if prompts == 1 else f"{what}s are"
    return f"{prompts} {are} {TOO_FEW}, which takes at least {ENOUGH_PROMPTS}"


def chosen(estimates: np.ndarray) -> np.ndarray:
    """Index of the layer with the largest estimate on each half, either way: [..., 2] of estimates [..., 2, layers]."""
    return np.abs(estimates).argmax(-1)


def cross_fitted(estimates: np.ndarray) -> np.ndarray:
    """T [...] of estimates [..., 2, layers]: the mean of what each half says at the layer that the other one chose."""
    there = chosen(estimates)[..., ::-1, None]
    return np.take_along_axis(estimates, there, -1)[..., 0].mean(-1)


def at_chosen(estimates: np.ndarray, by_prompt: np.ndarray, half_of: np.ndarray) -> np.ndarray:
    """[..., prompts]: what each prompt says at the layer that the half chose to which it does not belong.

    Args:
        estimates: [..., 2, layers], by which layers are chosen.
        by_prompt: of each prompt, [..., prompts, layers].
        half_of: which half each prompt belongs to, [prompts].
    """
    there = chosen(estimates)[..., ::-1][..., half_of]
    return np.take_along_axis(by_prompt, there[..., None], -1)[..., 0]


def two_sided(found: np.ndarray, kinds: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """p [...] of T [...] among controls of each kind [..., controls], and the direction, 1 or -1, that it is of.

    In each direction the larger of the kinds' (1 + controls at least as far) / (1 + controls), doubled.
    """
    tie = TIE * np.abs(found)[..., None]
    above, below = (
        np.max([(1 + (far >= far_enough).sum(-1)) / (1 + far.shape[-1]) for far, far_enough in sides], axis=0)
        for sides in (
            [(of, found[..., None] - tie) for of in kinds],
            [(-of, -found[..., None] - tie) for of in kinds],
        )
    )
    return np.minimum(1, 2 * np.minimum(above, below)), np.where(above <= below, 1, -1)


def grade(p: float, direction: int, size: Estimate, expected: float | None = None, kinds: int = 2) -> str:
    """An effect where p is small, the interval of the size leaves 0 out on the same side, and the size is not too
    small; none is shown where p is not; where p is and the rest is not, it is not decided.

    Nor is it where estimates do not speak for what is seen: the size is clear and more than `BEYOND` times `expected`,
    what it is to first order; nor where there are fewer than two `kinds` of controls.
    """
    if p > LEVEL:
        return UNDECIDED if expected is not None and outgrows(size, expected) else NONE_SHOWN
    beyond = size.low > 0 if direction > 0 else size.high < 0
    return EFFECT if beyond and abs(size.value) >= LEAST and kinds > 1 else UNDECIDED


def why_undecided(p: float, direction: int, size: Estimate, kinds: int = 2, beyond: bool = True) -> str:
    """Why `grade` says that it is not decided, as a part of a sentence. beyond: whether the size lies outside what
    controls by exact passes reach, where there are any.
    """
    if p > LEVEL:
        return (
            f"exact passes move the answers more than {BEYOND:g} times as far as to first order, and only what they do "
            f"to first order was held against controls (p = {p:.3g})"
        )
    why = objections(size, {})
    if size.is_clear and (size.value > 0) != (direction > 0):
        why.insert(0, "exact passes move the answers the other way than the estimate says")
    if not beyond:
        why.append("controls by exact passes reach as far")
    if kinds < 2:
        why.append(
            "no controls from shuffled labels could be made, since the pairs that this vector was made from are not "
            "known here"
        )
    return f"it is told from vectors that should do nothing (p = {p:.3g}), but {' and '.join(why)}"


def outgrows(size: Estimate, expected: float) -> bool:
    """Whether there is much more than the first order says, as where a change grows with itself."""
    return size.is_clear and abs(size.value) >= max(LEAST, BEYOND * abs(expected))


def random_estimates(slopes: np.ndarray, norms: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Estimates [count, 2, layers] of vectors drawn at random, at each layer of its norm [layers].

    slopes: the mean gradient of each half at each layer, [2, layers, hidden_size]; of all items, where a person chose
    the layer and there are no halves, [1, layers, hidden_size], as for the functions above and below; behind them may
    stand each prompt's own, whose estimates then stand there.
    """
    drawn = np.random.default_rng(seed)
    found = np.empty((count, len(slopes), len(norms)))
    for layer, norm in enumerate(norms):
        directions = drawn.standard_normal((count, slopes.shape[-1]), dtype=np.float32)
        directions *= norm / np.linalg.norm(directions, axis=1, keepdims=True)
        found[..., layer] = directions @ slopes[:, layer].T
    return found


def shuffled_estimates(along: np.ndarray, gram: np.ndarray, norms: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Estimates [count, 2, layers] of mean differences with labels exchanged at random, at each layer of its norm.

    Each prompt's label is exchanged or kept by a coin of its own: exactly what the vector would be if the labels meant
    nothing. So they are not kept apart from the vector: with few prompts some lie close to it.

    Args:
        along: the pair differences of a prompt times the mean gradient, by half and layer: [2, layers, prompts].
        gram: inner products of the prompts' differences, [layers, prompts, prompts].
    """
    signs = sign_patterns(along.shape[-1], count, seed)
    squares = np.stack([((signs @ inner) * signs).sum(1) for inner in gram], axis=-1)
    lengths = np.sqrt(np.maximum(squares, np.finfo(float).tiny))
    return np.tensordot(signs, along, (1, 2)) * (norms / lengths)[:, None]


def sign_patterns(prompts: int, count: int, seed: int = 0) -> np.ndarray:
    """[count, prompts]: 1 where the labels of a prompt's pairs stay as they are, -1 where they are exchanged."""
    return np.random.default_rng(seed).choice([-1.0, 1.0], (count, prompts))
