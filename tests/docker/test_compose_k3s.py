"""The profile `k3s` of compose.yaml: real members of a node each, which brim reaches by what K3s writes.

Where K3s cannot be had, an image that stands in for it runs instead; nothing here depends on which it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.demo.observer import DEPLOYMENTS, Observer, node_of, observing
from shared import fleet as fleet_file
from tests.docker import stack as stacks
from tests.docker.engine import Engine
from tests.docker.stack import K3S, ROOT, WAIT, Stack, seen
from tests.real.golang import Missing

pytestmark = pytest.mark.docker

GPU = "nvidia.com/gpu"
GPUS = 2  # in each of the members
EXAMPLES = [f"--filename={ROOT / 'examples' / name}" for name in ("qwen3.yaml", "qwen3-hybrid-policies.yaml")]


@pytest.fixture(scope="module")
def stack(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    try:
        with stacks.stack(engine, tmp_path_factory.mktemp("images"), speed=1.0, profile="k3s") as running:
            yield running
    except Missing as missing:
        pytest.skip(str(missing))


async def advertise(observer: Observer, member: str) -> None:
    """As an administrator may, of a resource that no kubelet knows."""
    room = {GPU: str(GPUS)}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"k3s-{member}"},
        "status": {"capacity": room, "allocatable": room},
    }
    await observer.clients[member].apply(node, manager="administrator", subresource="status")


def placed(observer: Observer, member: str, replicas: int) -> bool:
    """Whether the member has a Deployment of so many replicas, and its node has got all of them."""
    found = [entry.manifest for entry in observer.objects(DEPLOYMENTS, "test", member)]
    nodes = [node_of(entry.manifest) for entry in observer.pods("test", "qwen3", member)]
    return [one["spec"]["replicas"] for one in found] == [replicas] and nodes == [f"k3s-{member}"] * replicas


async def test_replicas_overflow_from_one_member_into_the_other_and_come_back(stack: Stack, tmp_path: Path) -> None:
    async def brim(*arguments: str) -> None:
        await asyncio.to_thread(stack.brim, *arguments)

    seen(lambda: stack.has_joined(set(K3S)), "both members have joined")
    fleet = fleet_file.load(ROOT / "deploy" / "compose" / "k3s.yaml")
    async with observing(fleet, stack.kubeconfig_of_k3s(tmp_path)) as observer:
        for member in K3S:
            await advertise(observer, member)
        await brim("apply", *EXAMPLES)
        assert await observer.until(lambda: placed(observer, "idc", GPUS), WAIT)
        await brim("scale", "deploy/qwen3", "-n", "test", "--replicas=4")
        assert await observer.until(lambda: all(placed(observer, member, GPUS) for member in K3S), WAIT)
        await brim("scale", "deploy/qwen3", "-n", "test", "--replicas=2")
        assert await observer.until(lambda: observer.gone("test", "qwen3", "ack"), WAIT)
        assert placed(observer, "idc", GPUS), "those at home stay"
