"""Programs that simulated containers really seem to run: the CUDA sample that adds vectors.

Its image is known by its name. What it writes is what the sample writes, for the GPU that its pod has.
"""

from __future__ import annotations

from shared.eci import GPU
from simulator import objects
from simulator.fit import requests_of
from simulator.instances import INSTANCE_ID, SHELF
from simulator.objects import Object
from simulator.store import Store

SECONDS = 5.0  # how long the sample runs
PRODUCT_LABEL = "nvidia.com/gpu.product"  # on a node: its GPUs

# How CUDA names a model, and its compute capability.
_MODELS = {
    "P100": ("Tesla P100-PCIE-16GB", "6.0"),
    "V100": ("Tesla V100-SXM2-16GB", "7.0"),
    "T4": ("Tesla T4", "7.5"),
    "A10": ("NVIDIA A10", "8.6"),
}


def adds_vectors(container: Object) -> bool:
    image = str(container.get("image", ""))
    return "cuda" in image and "vectoradd" in image


def sample_in(pod: Object) -> bool:
    return any(adds_vectors(container) for container in pod["spec"]["containers"])


def exit_code_of(pod: Object) -> int:
    """Without a GPU the sample fails."""
    return 0 if has_gpu(pod) else 1


def has_gpu(pod: Object) -> bool:
    return requests_of(pod["spec"]).get(GPU, 0) > 0


def gpu_of(store: Store, pod: Object) -> str:
    """The model of a pod's GPU: its instance's, or its node's by label; empty where nobody says it."""
    instance = store.get(SHELF, objects.namespace(pod), objects.annotations(pod).get(INSTANCE_ID, ""))
    if instance is not None:
        return str(instance["spec"].get("gpuModel", ""))
    node = store.get("nodes", "", pod["spec"].get("nodeName", ""))
    return objects.labels(node).get(PRODUCT_LABEL, "") if node is not None else ""


def log_of(pod: Object, model: str) -> list[str]:
    """What the sample writes in a pod with, or without, a GPU of this model."""
    begin = "[Vector addition of 50000 elements]"
    if not has_gpu(pod):
        return [begin, "Failed to allocate device vector A (error code no CUDA-capable device is detected)!"]
    name, capability = _MODELS.get(model, (model or "NVIDIA GPU", ""))
    return [
        f"Using CUDA Device [0]: {name}",
        *([f"GPU Device has SM {capability} compute capability"] if capability else []),
        begin,
        "Copy input data from the host memory to the CUDA device",
        "CUDA kernel launch with 196 blocks of 256 threads",
        "Copy output data from the CUDA device to the host memory",
        "Test PASSED",
        "Done",
    ]
