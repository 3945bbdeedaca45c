import pytest
import torch

from caa_core.errors import InputError
from caa_core.vectors.methods import METHODS, mean_difference, method_named, pca, probe


@pytest.fixture
def planted():
    """Forty pairs that differ by 3 along the first axis, among noise, and by much more noise along the second."""
    random = torch.Generator().manual_seed(0)
    base = torch.randn(40, 8, generator=random)
    noise = [0.3 * torch.randn(40, 8, generator=random) for _ in range(2)]
    for side in noise:
        side[:, 1] *= 4
    shift = torch.zeros(8)
    shift[0] = 3.0
    return base + shift + noise[0], base + noise[1]


@pytest.mark.parametrize("name", METHODS)
def test_what_was_planted_is_found(name, planted):
    direction = METHODS[name](*planted)
    assert direction.shape == (8,) and direction.dtype == torch.float32
    assert direction[0] / direction.norm() > (0.6 if name == "single" else 0.95)
    # The other way round, the direction is the other way round: no sign is left to chance.
    opposite = METHODS[name](*reversed(planted))
    assert torch.allclose(opposite, -direction, atol=0.05)


@pytest.mark.parametrize("method", [pca, probe])
def test_a_direction_is_as_long_as_the_mean_difference_along_it(method, planted):
    direction = method(*planted)
    assert direction.norm().item() == pytest.approx((direction / direction.norm() @ mean_difference(*planted)).item())


def test_pca_keeps_the_mean():
    """Differences that are all the same have no variance, but they have a direction."""
    positive, negative = torch.ones(5, 3) * torch.tensor([2.0, 0, 0]), torch.zeros(5, 3)
    assert torch.allclose(pca(positive, negative), torch.tensor([2.0, 0, 0]), atol=1e-6)


def test_the_probe_looks_for_what_separates():
    """A large difference that is mostly noise tells less than a small one that is sure; the mean prefers the first."""
    random = torch.Generator().manual_seed(1)
    positive, negative = torch.zeros(200, 2), torch.zeros(200, 2)
    for side, sign in ((positive, 1), (negative, -1)):
        side[:, 0] = sign * 1.0 + 6 * torch.randn(200, generator=random)
        side[:, 1] = sign * 0.5 + 0.05 * torch.randn(200, generator=random)
    assert mean_difference(positive, negative)[0] > mean_difference(positive, negative)[1]
    direction = probe(positive, negative)
    assert direction[1] > 5 * direction[0].abs()


def test_unknown_names():
    with pytest.raises(InputError, match="There is no method 'x'"):
        method_named("x")
