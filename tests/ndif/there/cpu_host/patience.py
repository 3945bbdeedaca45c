"""Nodes of Ray that come up on a machine which has other work. Ray itself gives up 30 s after a node was started, and
15 s after the agents were that tell the raylet their ports; no setting changes that.
"""

import runpy
from pathlib import Path

from ray import _raylet
from ray._private import node, services

# The tests' own way to wait, of which these processes have the file alone.
until = runpy.run_path(str(Path(__file__).parents[3] / "helpers" / "waiting.py"))["until"]
PORTS = "metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port"
_get_node, _start_raylet = services.get_node, node.Node.start_raylet


def _waited_for(*given):
    """The node, once it is there."""

    def found():
        try:
            return _get_node(*given)
        except RuntimeError:
            return None

    return until(found, seconds=900, otherwise="Ray's node does not come up", every=0.5)


def _told_of_its_ports(of, *given, **named):
    """Start the raylet, which finds the ports that its agents were given without waiting for them."""
    for name in PORTS:
        _raylet.persist_port(of._session_dir, of._node_id, name, getattr(of._ray_params, name))
    return _start_raylet(of, *given, **named)


def have_patience() -> None:
    """What is started after this, in this process."""
    services.get_node, node.Node.start_raylet = _waited_for, _told_of_its_ports
