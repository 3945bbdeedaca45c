import pytest
import torch

from caa_core.data.pairs import ContrastPair, Dataset
from caa_core.errors import InputError
from caa_core.vectors.geometry import ProjectedPairs, cosines_between, cosines_between_layers, principal_components
from caa_core.vectors.vector import Provenance, SteeringVector


def planted(behaviour, letter, seed=0):
    """Activations of 40 pairs, [pairs, 16] each: the behaviour along axis 0, the letter along axis 1, and noise."""
    random = torch.Generator().manual_seed(seed)
    noise = torch.randn(2, 40, 16, generator=random) * 0.1
    axes = torch.eye(16)
    letters = torch.tensor([1.0, -1.0] * 20)[:, None]
    positive = behaviour * axes[0] + letter * letters * axes[1] + noise[0]
    return positive, -behaviour * axes[0] - letter * letters * axes[1] + noise[1]


def test_a_planted_behaviour_is_the_first_component_and_lies_to_the_right():
    points, explained, along = principal_components(*planted(behaviour=3, letter=1))
    assert points[:40, 0].min() > 2 and points[40:, 0].max() < -2
    assert explained[0] > 0.8 and along[0] > 0.99 and along[1] < 0.1


def test_a_letter_that_is_larger_is_the_first_component_and_the_behaviour_the_second():
    points, _, along = principal_components(*planted(behaviour=1, letter=3))
    assert along[0] < 0.1 and along[1] > 0.99
    assert points[:40, 1].mean() > 0.9 and points[:40:2, 0].mean() * points[1:40:2, 0].mean() < 0


def test_coordinates_are_those_of_sklearn_but_for_the_sign():
    from sklearn.decomposition import PCA

    positive, negative = planted(1, 2)
    points, explained, _ = principal_components(positive, negative)
    theirs = PCA(2).fit(torch.cat([positive, negative]))
    assert explained.tolist() == pytest.approx(theirs.explained_variance_ratio_.tolist(), abs=1e-5)
    moved = torch.from_numpy(theirs.transform(torch.cat([positive, negative])))
    assert torch.allclose(points.abs(), moved.abs().float(), atol=1e-4)


def test_what_is_read_in_batches_is_drawn_in_the_dataset_s_order():
    pairs = tuple(ContrastPair(f"{i}?", *(("(A)", "(B)") if i % 2 else ("(B)", "(A)")), i) for i in range(1, 7))
    positive, negative = torch.randn(2, 3, 6, 8)
    drawn = ProjectedPairs(Dataset("d", "", "", pairs))
    for batch in ([5, 1], [0, 2, 3, 4]):
        drawn(batch, positive[:, batch], negative[:, batch])
    found = drawn.scatter([4, 5, 6])
    expected = principal_components(positive[1], negative[1])[0]
    assert found.x[1] == pytest.approx(expected[:, 0].tolist(), rel=1e-2)
    assert found.answers == [*["(A)", "(B)"] * 3, *["(B)", "(A)"] * 3] and found.positive == [True] * 6 + [False] * 6
    assert found.layers == [4, 5, 6]


def vector(name, *layers):
    return SteeringVector(name, {i: torch.tensor(v) for i, v in enumerate(layers)}, {}, Provenance())


def test_cosines_between_layers_and_between_vectors():
    one = vector("one", [1.0, 0.0], [0.0, 2.0], [3.0, 3.0])
    found = torch.tensor(cosines_between_layers(one))
    half = 2**-0.5
    assert torch.allclose(found, torch.tensor([[1, 0, half], [0, 1, half], [half, half, 1]]))
    other = vector("other", [-5.0, 0.0], [1.0, 0.0], [1.0, 0.0])
    assert torch.allclose(torch.tensor(cosines_between([one, other], 0)), torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))


def test_vectors_that_cannot_be_set_beside_each_other():
    with pytest.raises(InputError, match="different sizes"):
        cosines_between([vector("a", [1.0, 0.0]), vector("b", [1.0, 0.0, 0.0])], 0)
    with pytest.raises(InputError, match="no layer 1"):
        cosines_between([vector("a", [1.0, 0.0]), vector("b", [1.0, 0.0])], 1)
