"""Stock as real members tell it, read by inventory with no more rights than deploy/rbac gives it."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.inventory.cluster_autoscaler import STATUS
from shared.bus import Bus, BusSettings
from shared.clock import Clock
from shared.contracts.base import JsonObject
from shared.contracts.capacity import DisruptionBudget
from shared.contracts.cluster import cluster_of
from shared.contracts.selectors import LabelSelector
from shared.fleet import Fleet, Kubeconfig, Member, Stock
from shared.settings import Settings
from tests.inventory.conftest import Fleetside
from tests.inventory.test_stock_core import CONFIGURATION, TOLD, inventory
from tests.inventory.test_stock_sources import AUTOSCALED, DEFINITION, KARPENTER, TEMPLATE, YAML
from tests.real.control_plane import ControlPlane, call
from tests.real.rights import account, grant

pytestmark = pytest.mark.real

CONFIG_MAPS = "/api/v1/namespaces/kube-system/configmaps"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
NODE_POOLS = "/apis/karpenter.sh/v1/nodepools"


@asynccontextmanager
async def watched(
    plane: ControlPlane, stock: Stock, bus: Bus, url: str, folder: Path, eventually
) -> AsyncIterator[Fleetside]:
    """Inventory, with one member and this source of its stock."""
    grant(plane, "inventory.yaml")
    reached = Kubeconfig(context="ctx", path=str(account(plane, "inventory", folder)))
    member = Member(id="real", kubeconfig=reached, stock=stock)
    settings = Settings(bus=BusSettings(url=url))
    side = Fleetside({}, Fleet(members=(member,)), folder, bus, Clock(), settings, eventually)
    await side.want(cluster_of(member).to_manifest(), uid="cluster-real")
    async with side.inventory():
        yield side


async def told(side: Fleetside, headrooms: dict[str, int]) -> bool:
    return {name: pool.headroom for name, pool in (await side.replayed("real")).pools.items()} == headrooms


def config_map(name: str, data: JsonObject) -> JsonObject:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def test_node_pools_inventories(plane, bus, nats_server, tmp_path, eventually) -> None:
    async with watched(plane, TOLD, bus, nats_server, tmp_path, eventually) as side:
        await eventually(lambda: told(side, {}))
        meta = {"scaling_configurations": json.dumps([CONFIGURATION])}
        call(plane, "POST", CONFIG_MAPS, config_map("autoscaler-meta", meta))
        await eventually(lambda: told(side, {"p": 0}))  # nobody has said that there is stock
        sold_out, there = (dict(inventory(state).data) for state in ("WithoutStock", "WithStock"))
        call(plane, "POST", CONFIG_MAPS, config_map("p-inventory-status", there))
        await eventually(lambda: told(side, {"p": 5}))
        call(plane, "PUT", f"{CONFIG_MAPS}/p-inventory-status", config_map("p-inventory-status", sold_out))
        await eventually(lambda: told(side, {"p": 0}))


async def test_cluster_autoscalers_status(plane, bus, nats_server, tmp_path, eventually) -> None:
    async with watched(plane, AUTOSCALED, bus, nats_server, tmp_path, eventually) as side:
        await eventually(lambda: told(side, {}))
        call(plane, "POST", CONFIG_MAPS, config_map(STATUS, {"status": YAML}))
        await eventually(lambda: told(side, {"big": 7, "gpu": 0}))
        over = config_map(STATUS, {"status": YAML.replace("Backoff", "NoActivity")})
        call(plane, "PUT", f"{CONFIG_MAPS}/{STATUS}", over)
        await eventually(lambda: told(side, {"big": 7, "gpu": 2}))


async def test_karpenters_node_pools_also_where_they_come_later(plane, bus, nats_server, tmp_path, eventually) -> None:
    async with watched(plane, KARPENTER, bus, nats_server, tmp_path, eventually) as side:
        await eventually(lambda: told(side, {}))
        call(plane, "POST", DEFINITIONS, DEFINITION)
        pool = {
            "apiVersion": "karpenter.sh/v1",
            "kind": "NodePool",
            "metadata": {"name": "default"},
            "spec": {"template": TEMPLATE, "limits": {"cpu": "40"}},
        }
        await eventually(lambda: created(plane, pool))
        await eventually(lambda: told(side, {"spot": 10}))
        call(plane, "DELETE", f"{NODE_POOLS}/default")
        await eventually(lambda: told(side, {}))


async def test_disruption_budgets(plane, bus, nats_server, tmp_path, eventually) -> None:
    """Not stock, but told beside it: what a real controller has counted."""
    async with watched(plane, Stock(), bus, nats_server, tmp_path, eventually) as side:

        async def told_of(budgets: dict[str, DisruptionBudget]) -> bool:
            return (await side.replayed("real")).budgets == budgets

        budget = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "minAvailable": 0},
        }
        call(plane, "POST", BUDGETS, budget)
        selector = LabelSelector(match_labels={"app": "web"})
        await eventually(lambda: told_of({"default/web": DisruptionBudget(selector=selector)}))
        assert (await side.replayed("real")).surroundings is not None
        call(plane, "DELETE", f"{BUDGETS}/web")
        await eventually(lambda: told_of({}))


def created(plane: ControlPlane, pool: JsonObject) -> bool:
    """A kind that was defined just now is served a moment later."""
    try:
        call(plane, "POST", NODE_POOLS, pool)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    return True
