"""A host of two nodes, each with a copy of the model: they share the jobs, and what dies with one of them is done."""

from concurrent.futures import ThreadPoolExecutor

import torch

import caa_core as caa
from caa_core.progress import finish
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import generate
from caa_core.steering.interventions import Steer
from caa_core.steering.scoring import score
from tests.ndif.cluster import FIRST, SECOND
from tests.ndif.conftest import LAYER, rows_of

AT_ONCE, JOBS = 4, 12
QUESTIONS = "How was your day?", "What is a river?", "Tell me a story.", "Why is the sky blue?"


def measured(model, vector):
    """What a measurement of one job comes to."""
    runs = [(Steer(vector.at(LAYER), LAYER, m),) for m in (-1.0, 1.0, 2.0)]
    return finish(score(model, caa.test_pairs("joy:ab").first(8).pairs, runs)).preference


def shared(cluster, there, vector):
    """What jobs came to that people asked for at once, and how much each node did of them."""
    before = cluster.worked()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [*pool.map(lambda _: measured(there, vector), range(JOBS))]
    spent = {node: seconds - before[node] for node, seconds in cluster.worked().items()}
    return found, {node: seconds / sum(spent.values()) for node, seconds in spent.items()}


def test_two_nodes_share_the_jobs(cluster, there, here, vector):
    measured(there, vector)
    expected = measured(here, vector)
    found, parts = shared(cluster, there, vector)
    assert parts[FIRST] == 1
    cluster.add_node(there.elsewhere.line.model_key)
    more, parts = shared(cluster, there, vector)
    for one in (*found, *more):
        torch.testing.assert_close(one, expected, rtol=1e-3, atol=1e-3)
    assert 0.3 < parts[SECOND] < 0.7


def test_a_node_that_dies_loses_no_job_and_changes_no_text(cluster, there, here, vector):
    decoding = Decoding(60)
    asked = [rows_of(here, vector, question) for question in QUESTIONS]
    expected = [[text.text for text in finish(generate(here, rows, decoding))] for rows in asked]
    before = cluster.worked()[SECOND]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        written = [pool.submit(lambda rows=rows: finish(generate(there, rows, decoding))) for rows in asked]
        cluster.until(lambda: cluster.worked()[SECOND] > before + 0.5, "the second node does nothing")
        cluster.kill_node()
        found = [[text.text for text in job.result()] for job in written]
    assert found == expected
    torch.testing.assert_close(measured(there, vector), measured(here, vector), rtol=1e-3, atol=1e-3)
