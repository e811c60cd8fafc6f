"""What a pod asks for: worked examples of Kubernetes' rule."""

from __future__ import annotations

import pytest

from shared.pod_requests import InitContainer, pod_requests


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
