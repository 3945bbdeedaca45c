from caa_core.measuring.costs.knowledge import Knowledge, KnowledgeLevel
from caa_core.metrics.estimates import Estimate
from caa_core.reports.costs.knowledge import capability_by_multiplier


def level(multiplier, accuracy, random=None):
    about, changed = Estimate(accuracy, accuracy - 0.1, accuracy + 0.05), Estimate(0.0, -0.1, 0.1)
    return KnowledgeLevel(multiplier, about, about, changed, changed, random, mass=0.9, kl=0.1)


def test_accuracy_stands_above_how_far_random_vectors_move_it():
    rows = (level(0.0, 0.8), level(1.0, 0.7, (-0.05, 0.0)), level(-1.0, 0.75, (0.0, 0.1)))
    figure = capability_by_multiplier(Knowledge("joy", "knowledge", 2, 40, (), 0, 20, rows))
    bands = [trace for trace in figure.data if trace.mode == "lines"]
    assert [(trace.x[0], trace.y) for trace in bands] == [(-1, (0.8, 0.9)), (1, (0.75, 0.8))]
    accuracy, probability = (trace for trace in figure.data if trace.mode == "markers")
    assert (accuracy.x, accuracy.y) == ((-1, 0, 1), (0.75, 0.8, 0.7)) and probability.xaxis == "x2"
    assert accuracy.error_y.arrayminus[0] > accuracy.error_y.array[0]
    assert figure.layout.yaxis.title.text.startswith("share of questions")
