"""One more node of a Ray cluster on this machine: python -m cpu_host.node ADDRESS NAME RESOURCES PORTS.

Ray's own command takes the machine's outward address for it where 127.0.0.1 is asked for, or refuses.
"""

import json
import sys

from ray._private.node import Node
from ray._private.parameter import RayParams

from cpu_host.patience import have_patience

if __name__ == "__main__":
    address, name, resources, ports = sys.argv[1:]
    have_patience()
    given = RayParams(
        gcs_address=address,
        node_ip_address="127.0.0.1",
        node_name=name,
        num_cpus=1,
        num_gpus=1,
        resources=json.loads(resources),
        object_store_memory=100_000_000,
        node_manager_port=0,
        min_worker_port=0,
        max_worker_port=0,
        include_log_monitor=False,
        **json.loads(ports),
    )
    Node(given, head=False, shutdown_at_exit=False, spawn_reaper=False)
