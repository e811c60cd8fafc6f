"""Where stock is known from: cluster-autoscaler's status in both its forms, Karpenter's NodePools."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.inventory import karpenter
from services.inventory.cluster_autoscaler import STATUS, Group, groups_of
from services.inventory.core.capacity import Capacity
from services.inventory.core.facts import NodeFacts
from services.inventory.facts import node_facts
from services.inventory.pools import Pools
from services.inventory.projections import ConfigMap, Node
from shared.contracts.capacity import Pool
from shared.contracts.refs import ObjectRef
from shared.fleet import NodePool, Stock, parse
from shared.kube import Metadata

# -- cluster-autoscaler ----------------------------------------------------------------------------------------

TEXT = """Cluster-autoscaler status at 2023-11-24 04:28:19.546750398 +0000 UTC:
Cluster-wide:
  Health:      Healthy (ready=3 unready=0 (resourceUnready=0) notStarted=0 longNotStarted=0 registered=3 \
longUnregistered=0)
               LastProbeTime:      2023-11-24 04:28:19.5 +0000 UTC m=+200.1
               LastTransitionTime: 2023-11-24 04:25:19.5 +0000 UTC m=+20.1
  ScaleUp:     InProgress (ready=3 registered=3)
               LastProbeTime:      2023-11-24 04:28:19.5 +0000 UTC m=+200.1
  ScaleDown:   NoCandidates (candidates=0)

NodeGroups:
  Name:        https://www.googleapis.com/compute/v1/projects/p/zones/z/instanceGroups/gke-big-grp
  Health:      Healthy (ready=2 unready=0 (resourceUnready=0) notStarted=0 longNotStarted=0 registered=2 \
longUnregistered=0 cloudProviderTarget=3 (minSize=1, maxSize=10))
               LastProbeTime:      2023-11-24 04:28:19.5 +0000 UTC m=+200.1
  ScaleUp:     InProgress (ready=2 cloudProviderTarget=3)
               LastProbeTime:      2023-11-24 04:28:19.5 +0000 UTC m=+200.1
  ScaleDown:   NoCandidates (candidates=0)

  Name:        gpu
  Health:      Healthy (ready=1 unready=0 registered=1 longUnregistered=0 cloudProviderTarget=1 (minSize=0, maxSize=4))
  ScaleUp:     Backoff (ready=1 cloudProviderTarget=1)
  ScaleDown:   NoCandidates (candidates=0)

  Name:        sick
  Health:      Unhealthy (ready=0 unready=2 registered=2 cloudProviderTarget=2 (minSize=0, maxSize=4))
  ScaleUp:     NoActivity (ready=0 cloudProviderTarget=2)
"""

YAML = """time: 2024-06-24 04:28:19.546750398 +0000 UTC
autoscalerStatus: Running
clusterWide:
  health:
    status: Healthy
    nodeCounts:
      registered:
        total: 3
        ready: 3
        notStarted: 0
      longUnregistered: 0
      unregistered: 0
    lastProbeTime: "2024-06-24T04:28:19.546750398Z"
    lastTransitionTime: "2024-06-24T04:25:19.5Z"
  scaleUp:
    status: InProgress
  scaleDown:
    status: NoCandidates
nodeGroups:
- name: https://www.googleapis.com/compute/v1/projects/p/zones/z/instanceGroups/gke-big-grp
  health:
    status: Healthy
    nodeCounts:
      registered:
        total: 2
        ready: 2
      longUnregistered: 0
      unregistered: 1
    cloudProviderTarget: 3
    minSize: 1
    maxSize: 10
    lastProbeTime: "2024-06-24T04:28:19.5Z"
  scaleUp:
    status: InProgress
  scaleDown:
    status: NoCandidates
- name: gpu
  health:
    status: Healthy
    cloudProviderTarget: 1
    minSize: 0
    maxSize: 4
  scaleUp:
    status: Backoff
    backoffInfo:
      errorCode: QUOTA_EXCEEDED
      errorMessage: "Instance 'x' creation failed: Quota 'CPUS' exceeded.  Limit: 24.0,
        status: none"
- name: "sick"
  health:
    status: Unhealthy
    cloudProviderTarget: 2
    minSize: 0
    maxSize: 4
  scaleUp:
    status: NoActivity
"""

BIG = "https://www.googleapis.com/compute/v1/projects/p/zones/z/instanceGroups/gke-big-grp"


@pytest.mark.parametrize("text", [TEXT, YAML], ids=["text for people", "YAML"])
def test_both_forms_say_the_same(text: str) -> None:
    assert groups_of(text) == [
        Group(BIG, target=3, minimum=1, maximum=10, grows=True),
        Group("gpu", target=1, minimum=0, maximum=4, grows=False),
        Group("sick", target=2, minimum=0, maximum=4, grows=False),
    ]


@pytest.mark.parametrize("text", [TEXT, YAML], ids=["text for people", "YAML"])
def test_a_cluster_that_is_not_healthy_is_not_scaled_up(text: str) -> None:
    sick = text.replace("Healthy", "Unhealthy", 1)
    assert not any(group.grows for group in groups_of(sick))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("nodeGroups: [", id="no YAML"),
        pytest.param("nodeGroups: 5", id="another form"),
        pytest.param("nodeGroups:\n- health:\n    cloudProviderTarget: 1\n    maxSize: 2", id="a group without a name"),
        pytest.param("nodeGroups:\n- name: a\n  health:\n    cloudProviderTarget: 1\n    maxSize: -1", id="negative"),
        pytest.param("nodeGroups:\n- name: a\n  health:\n    maxSize: 3", id="without a target in YAML"),
        pytest.param("5", id="a number"),
        pytest.param("- " * 100_000, id="very deep"),
        pytest.param(TEXT.partition("NodeGroups:")[0], id="text without groups"),
        pytest.param("Cluster-autoscaler status\nNodeGroups:\n  Name:   a\n  Health:   Healthy", id="without a target"),
    ],
)
def test_what_cannot_be_read_promises_nothing(text: str) -> None:
    assert groups_of(text) == []


@pytest.mark.parametrize("indented", ["nodeGroups:\n  - ", "nodeGroups:\n    - "])
def test_lists_may_be_indented(indented: str) -> None:
    inner = " " * (len(indented) - len("nodeGroups:\n"))
    lines = ["name: a", "health:", "  cloudProviderTarget: 1", "  maxSize: 2", "scaleUp:", "  status: NoActivity"]
    text = indented + f"\n{inner}".join(lines) + "\nclusterWide:\n  health:\n    status: Unhealthy\n"
    assert groups_of(text) == [Group("a", target=1, minimum=0, maximum=2, grows=False)]


def described(name: str = "big", **fields: Any) -> NodePool:
    usual = {"allocatable": {"cpu": "4", "memory": "8Gi"}, "max": 20, "instance_type": "t.x"}
    return NodePool(**{"id": name, **usual, **fields})


def pools_with(stock: Stock, *items: ConfigMap | karpenter.NodePool, nodes: list[NodeFacts] | None = None) -> Pools:
    capacity = Capacity()
    for node in nodes or []:
        capacity.put_node(node, now=0.0)
    pools = Pools("idc", stock, capacity, lambda: None)
    for item in items:
        if isinstance(item, ConfigMap):
            pools.config_map_changed(item.metadata.name, item)
        else:
            pools.node_pools.put(item)
    return pools


def status(text: str) -> ConfigMap:
    return ConfigMap(metadata=Metadata(name=STATUS, namespace="kube-system"), data={"status": text})


AUTOSCALED = Stock(
    source="cluster-autoscaler",
    pools=(
        described("big", node_group="gke-big-grp", labels={"pool": "big"}, price=2.0),
        described("gpu", max=3),
    ),
)


def test_headroom_is_what_is_left_up_to_the_maximum_and_none_in_backoff() -> None:
    big, gpu = pools_with(AUTOSCALED, status(YAML)).value
    assert (big.id, big.max, big.nodes, big.stock, big.headroom, big.price) == ("big", 10, 3, None, 7, 2.0)
    assert (gpu.id, gpu.max, gpu.nodes, gpu.headroom) == ("gpu", 3, 1, 0)
    assert big.labels == {"pool": "big", "node.kubernetes.io/instance-type": "t.x"}


def test_of_a_group_that_nobody_describes_nothing_is_promised_and_it_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pools = pools_with(AUTOSCALED, status(YAML), status(YAML.replace("maxSize: 10", "maxSize: 11")))
    assert [pool.id for pool in pools.value] == ["big", "gpu"]
    assert caplog.text.count("does not describe node group sick") == 1


def test_without_the_config_map_there_is_nothing() -> None:
    pools = pools_with(AUTOSCALED, status(YAML))
    pools.config_map_changed(STATUS, None)
    assert pools.value == ()


def test_a_young_node_of_a_described_group_is_on_its_way() -> None:
    pools = pools_with(AUTOSCALED)
    metadata = Metadata(name="n", labels={"pool": "big", "zone": "a"}, creation_timestamp="1970-01-01T00:16:00Z")
    facts = node_facts(Node(metadata=metadata), pools.of_node(metadata.labels))
    capacity = Capacity()
    capacity.put_node(facts, now=1000.0)
    assert capacity.take().rows[0].phase == "upcoming"
    assert pools.of_node({"pool": "other"}) == ""


# -- Karpenter -------------------------------------------------------------------------------------------------

KARPENTER = Stock(source="karpenter", pools=(described("spot", node_group="default", max=50, price=1.0),))
TEMPLATE = {
    "metadata": {"labels": {"team": "a"}},
    "spec": {
        "taints": [{"key": "spot", "value": "yes", "effect": "NoSchedule"}],
        "startupTaints": [{"key": "starting", "effect": "NoExecute"}],
        "requirements": [
            {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
            {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a", "b"]},
            {"key": "karpenter.k8s.aws/instance-cpu", "operator": "Gt", "values": ["3"]},
        ],
    },
}


def node_pool(*, limits: Any = None, resources: Any = None, name: str = "default", **more: Any) -> karpenter.NodePool:
    spec = {"template": TEMPLATE, "limits": limits or {}, **more.pop("spec", {})}
    told = {"metadata": {"name": name}, "spec": spec, "status": {"resources": resources or {}, **more}}
    return karpenter.NodePool.model_validate(told)


@pytest.mark.parametrize(
    ("item", "headroom"),
    [
        pytest.param(node_pool(), 50, id="without limits: what the fleet file says"),
        pytest.param(node_pool(limits={"cpu": "100"}, resources={"cpu": "80", "nodes": "20"}), 5, id="what is left"),
        pytest.param(node_pool(limits={"cpu": "100", "memory": "16Gi"}), 2, id="of each resource"),
        pytest.param(node_pool(limits={"cpu": "100"}, resources={"cpu": "120"}), 0, id="beyond its limit"),
        pytest.param(node_pool(limits={"cpu": "103"}, resources={"cpu": "100"}), 0, id="less than one node"),
        pytest.param(node_pool(limits={"nodes": 7}, resources={"nodes": 4}), 3, id="of nodes"),
        pytest.param(node_pool(limits={"nvidia.com/gpu": 0}), 50, id="of what such a node does not have"),
        pytest.param(node_pool(limits={"cpu": "many"}), 50, id="what is no amount limits nothing"),
        pytest.param(node_pool(resources={"nodes": "45"}), 5, id="up to the fleet file's own maximum"),
        pytest.param(node_pool(conditions=[{"type": "Ready", "status": "False"}]), 0, id="not ready"),
        pytest.param(node_pool(spec={"replicas": 3}), 0, id="of a fixed size"),
    ],
)
def test_headroom_of_a_node_pool(item: karpenter.NodePool, headroom: int) -> None:
    (pool,) = pools_with(KARPENTER, item).value
    assert pool.headroom == headroom


def test_a_node_pool_tells_what_its_nodes_will_be_like() -> None:
    ready = NodeFacts("n", labels={"karpenter.sh/nodepool": "default"})
    (pool,) = pools_with(KARPENTER, node_pool(), nodes=[ready]).value
    assert (pool.id, pool.nodes) == ("spot", 1)
    assert [(taint.key, taint.effect) for taint in pool.taints] == [("spot", "NoSchedule")]
    assert pool.labels == {
        "karpenter.sh/nodepool": "default",
        "node.kubernetes.io/instance-type": "t.x",
        "kubernetes.io/arch": "amd64",
        "team": "a",
    }


def test_a_pool_is_given_once() -> None:
    with pytest.raises(ValueError, match="node group 'default' is given twice"):
        Stock(source="karpenter", pools=(described("a", node_group="default"), described("default")))


# -- in a member -----------------------------------------------------------------------------------------------

FLEET = parse("members: [{id: idc, simulated: {nodes: [{name: node, allocatable: {cpu: '8'}}]}}]")
ANYTHING = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "nodepools.karpenter.sh"},
    "spec": {
        "group": "karpenter.sh",
        "scope": "Cluster",
        "names": {"plural": "nodepools", "singular": "nodepool", "kind": "NodePool", "listKind": "NodePoolList"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": ANYTHING}],
    },
}


async def told(side: Any, headrooms: dict[str, int]) -> bool:
    pools: dict[str, Pool] = (await side.replayed("idc")).pools
    return {name: pool.headroom for name, pool in pools.items()} == headrooms


async def test_a_members_cluster_autoscaler_is_followed(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=[]) as side, side.client("idc") as client, side.inventory():
        await side.join("idc", stock=AUTOSCALED)
        await eventually(lambda: told(side, {}))
        metadata = {"name": STATUS, "namespace": "kube-system"}
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"status": YAML}}
        await client.create(manifest)
        await eventually(lambda: told(side, {"big": 7, "gpu": 0}))
        await client.merge_patch(ObjectRef.of(manifest), {"data": {"status": YAML.replace("Backoff", "NoActivity")}})
        await eventually(lambda: told(side, {"big": 7, "gpu": 2}))


async def test_a_members_karpenter_is_followed_also_where_it_comes_later(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=[]) as side, side.client("idc") as client, side.inventory():
        await side.join("idc", stock=KARPENTER)
        await eventually(lambda: told(side, {}))
        await client.create(json.loads(json.dumps(DEFINITION)))
        manifest = {
            "apiVersion": "karpenter.sh/v1",
            "kind": "NodePool",
            "metadata": {"name": "default"},
            "spec": {"template": TEMPLATE, "limits": {"cpu": "40"}},
        }
        await client.create(manifest)
        await eventually(lambda: told(side, {"spot": 10}))
        await client.delete(ObjectRef.of(manifest))
        await eventually(lambda: told(side, {}))
