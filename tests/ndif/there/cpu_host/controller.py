"""ndif 0.1.2's controller with nnsight 0.8.1, which takes from a model's key whether its own code is trusted, and as an
argument no more.
"""

import ray
from ndif.services.ray.deployments.controller.controller import _ControllerActor
from nnsight.modeling.mixins.remotable import Remotable


def _without_trust(method):
    def called(cls, *given, trust_remote_code=False, **named):
        return method.__func__(cls, *given, **named)

    return classmethod(called)


@ray.remote(num_cpus=1, num_gpus=0, max_restarts=-1, resources={"head": 1})
class ControllerActor(_ControllerActor):
    """Named in NDIF_CONTROLLER_IMPORT_PATH."""

    def __init__(self, *given, **named):
        for name in ("describe_checkpoint", "max_tp_size"):
            setattr(Remotable, name, _without_trust(getattr(Remotable, name)))
        super().__init__(*given, **named)
