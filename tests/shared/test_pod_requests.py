"""What a pod asks for: worked examples of Kubernetes' rule."""

from __future__ import annotations

import pytest
import yaml

from shared.contracts.base import JsonObject
from shared.pod_requests import InitContainer, dominant_share, pod_requests, requests_of


def cpu(amount: int) -> dict[str, int]:
    return {"cpu": amount}


@pytest.mark.parametrize(
    ("containers", "init", "more", "total"),
    [
        pytest.param([cpu(1), cpu(2)], [], {}, 3, id="containers add up"),
        pytest.param([cpu(1)], [InitContainer(cpu(5)), InitContainer(cpu(4))], {}, 5, id="the largest init is a floor"),
        pytest.param([cpu(3)], [InitContainer(cpu(2))], {}, 3, id="a smaller init costs nothing"),
        pytest.param([cpu(1)], [InitContainer(cpu(2), sidecar=True)], {}, 3, id="a sidecar keeps running"),
        pytest.param(
            [cpu(1)], [InitContainer(cpu(2), sidecar=True), InitContainer(cpu(5))], {}, 7, id="init beside a sidecar"
        ),
        pytest.param(
            [cpu(1)], [InitContainer(cpu(5)), InitContainer(cpu(2), sidecar=True)], {}, 5, id="init before a sidecar"
        ),
        pytest.param([cpu(1)], [], {"overhead": cpu(2)}, 3, id="overhead"),
        pytest.param([cpu(1), cpu(9)], [], {"pod_level": cpu(4), "overhead": cpu(1)}, 5, id="pod-level requests"),
    ],
)
def test_requests(containers, init, more, total) -> None:
    assert pod_requests(containers, init, **more) == cpu(total)


def test_resources_are_counted_apart() -> None:
    init = [InitContainer({"memory": 5})]
    assert pod_requests([{"cpu": 1}, {"memory": 2}], init) == {"cpu": 1, "memory": 5}


# pod spec, what its scheduler sets aside
REQUESTS: dict[str, tuple[str, dict[str, int]]] = {
    "containers add up": (
        "{containers: [{resources: {requests: {cpu: 500m, memory: 1Gi}}}, {resources: {requests: {cpu: 1}}}]}",
        {"cpu": 1500, "memory": 2**30},
    ),
    "a limit counts where there is no request": (
        "{containers: [{resources: {limits: {nvidia.com/gpu: 2, cpu: 4}, requests: {cpu: 1}}}]}",
        {"cpu": 1000, "nvidia.com/gpu": 2},
    ),
    "init containers run one after the other": (
        "{initContainers: [{resources: {requests: {cpu: 3}}}, {resources: {requests: {cpu: 1}}}],"
        " containers: [{resources: {requests: {cpu: 2}}}]}",
        {"cpu": 3000},
    ),
    "sidecars run beside all": (
        "{initContainers: [{restartPolicy: Always, resources: {requests: {cpu: 1}}},"
        " {resources: {requests: {cpu: 3}}}], containers: [{resources: {requests: {cpu: 2}}}]}",
        {"cpu": 4000},
    ),
    "the sandbox costs too": (
        "{overhead: {cpu: 250m}, containers: [{resources: {requests: {cpu: 1}}}]}",
        {"cpu": 1250},
    ),
    "a request for the whole pod replaces its containers'": (
        "{resources: {requests: {cpu: 8}}, containers: [{resources: {requests: {cpu: 1, memory: 1Ki}}}]}",
        {"cpu": 8000, "memory": 1024},
    ),
    "a limit of the whole pod counts for what no container asks for": (
        "{resources: {limits: {cpu: 8, memory: 2Ki}}, containers: [{resources: {requests: {cpu: 1}}}]}",
        {"cpu": 1000, "memory": 2048},
    ),
    "a pod as a whole asks for no devices": (
        "{resources: {requests: {nvidia.com/gpu: 8}}, containers: [{resources: {requests: {nvidia.com/gpu: 1}}}]}",
        {"nvidia.com/gpu": 1},
    ),
    "the sandbox comes on top of what the whole pod asks for": (
        "{resources: {requests: {cpu: 2}}, overhead: {cpu: 250m}, containers: [{resources: {requests: {cpu: 1}}}]}",
        {"cpu": 2250},
    ),
    "a sidecar that starts after a large init container": (
        "{initContainers: [{resources: {requests: {cpu: 5}}},"
        " {restartPolicy: Always, resources: {requests: {cpu: 2}}}], containers: [{resources: {requests: {cpu: 1}}}]}",
        {"cpu": 5000},
    ),
    "nothing": ("{containers: [{name: c}]}", {}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_of_a_pod(name: str) -> None:
    text, expected = REQUESTS[name]
    spec: JsonObject = yaml.safe_load(text)
    assert requests_of(spec) == expected


@pytest.mark.parametrize(
    ("requests", "share"),
    [
        ({"cpu": 1000, "memory": 2, "pods": 1}, 0.25),
        ({"cpu": 1000, "memory": 8, "pods": 1}, 0.5),
        ({"cpu": 9000}, 1.0),
        ({"nvidia.com/gpu": 1}, 0.0),
        ({"pods": 1}, 0.0),
        ({}, 0.0),
    ],
)
def test_a_pod_pays_for_its_dominant_share_of_a_node(requests: dict[str, int], share: float) -> None:
    assert dominant_share(requests, {"cpu": 4000, "memory": 16, "pods": 2}) == share
