"""A model's actor on a processor: weights are loaded to memory, and nothing is asked of CUDA. Running a block, its time
limit and its answer are ndif's own.
"""

import gc

import ray
import torch
from ndif.services.ray.deployments.modeling.base import BaseModelDeployment
from nnsight.modeling.huggingface import HuggingFaceModel


class _OnCpu(BaseModelDeployment):
    CACHEABLE = False  # there is no card whose memory would be wanted back

    def load_from_disk(self):
        torch.set_num_threads(1)
        options = {"dtype": self.dtype_name, "device": "cpu", **self.kwargs}
        model = HuggingFaceModel.from_model_key(self.model_key, dispatch=True, **options)
        model._module.requires_grad_(False)
        return model

    def cleanup(self):
        self.kill_switch.clear()
        self.kill_reason = self.execution_ident = None
        self.model.interleaver.cancel()
        gc.collect()


@ray.remote(num_cpus=1, max_restarts=-1)
class CpuModelActor(_OnCpu):
    """Named in NDIF_DEFAULT_MODEL_ACTOR_CLASS."""
