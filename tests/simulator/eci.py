"""A member with one virtual node, and what runs there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from shared.clock import Clock
from shared.fleet import Delays, InstancePrices, VirtualNode
from simulator.instances import SHELF
from simulator.objects import Object
from tests.simulator.harness import INSTANT, Driver, cluster, pod

ZONE = "cn-zhangjiakou-a"
NODE = f"virtual-kubelet-{ZONE}"
GPU_TYPE = "ecs.gn5-c4g1.xlarge"
PRICES = InstancePrices(vcpu=3.6, gib=0.36, types={GPU_TYPE: 36}, spot=0.25)
USE_SPECS, SPEC = "k8s.aliyun.com/eci-use-specs", "k8s.aliyun.com/eci-instance-spec"
FAIL = "k8s.aliyun.com/pod-fail-on-create-err"
SPOT = {"k8s.aliyun.com/eci-spot-strategy": "SpotAsPriceGo"}
RUN = "simulator.brim.dev/run-seconds"


@asynccontextmanager
async def virtual(
    speed: float = 1.0, delays: Delays = INSTANT, data: Path | None = None, **node: Any
) -> AsyncIterator[Driver]:
    """A member with one virtual node."""
    one = VirtualNode(zone=ZONE, **{"prices": PRICES, **node})
    async with cluster(virtual=(one,), delays=delays, clock=Clock(speed=speed), data=data) as driver:
        yield driver


def start(driver: Driver, name: str = "one", **fields: Any) -> Object:
    """A pod that a scheduler has given to the virtual node."""
    made = driver.create("pods", pod(name, **{"schedulerName": "brim-scheduler", **fields}))
    driver.bind(name, NODE)
    return made


def instances(driver: Driver) -> list[Object]:
    return driver.store.every(SHELF)


def instance(driver: Driver) -> Object:
    (only,) = instances(driver)
    return only


def stock(driver: Driver) -> dict[str, int | None]:
    """Instances left, where their number is known."""
    return dict(driver.member.virtual_kubelet.instances.stock.left(ZONE))


def found(driver: Driver, name: str = "one") -> Object:
    pod = driver.get("pods", name)
    assert pod is not None
    return pod
