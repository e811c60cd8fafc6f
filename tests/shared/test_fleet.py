"""The fleet file: what it says of virtual nodes, prices and delays, and what is wrong with it, field by field."""

from __future__ import annotations

import json

import pytest

from shared import eci, fleet
from shared.contracts.cluster import ClusterManifest, cluster_of
from shared.errors import Invalid
from shared.fleet import Kubeconfig, Member


def member(simulated: str, more: str = "") -> Member:
    return fleet.parse(f"members: [{{id: idc, simulated: {{{simulated}}}{more}}}]").members[0]


VIRTUAL = """virtualNodes: [{
  zone: cn-zhangjiakou-a,
  allocatable: {cpu: 8},
  stock: {2-4Gi: 3, 4-8: 0, ecs.gn5-c4g1.xlarge: null, ecs.own.large: 1},
  prices: {vcpu: 0.05, gib: 0.01, types: {ecs.gn5-c4g1.xlarge: 1.5}, spot: 0.25},
  instanceTypes: [{name: ecs.own.large, vcpu: 96, memory: 1Ti, gpus: 8, gpuModel: H20}]
}]"""


def test_a_virtual_node_has_a_quota_stock_prices_and_own_types() -> None:
    simulated = member(VIRTUAL).simulated
    assert simulated is not None
    (node,) = simulated.virtual_nodes
    assert node.node_name == "virtual-kubelet-cn-zhangjiakou-a"
    assert node.allocatable == {
        "cpu": "8",
        "memory": "4000Gi",
        "pods": "1000",
        "ephemeral-storage": "30000Gi",
        "nvidia.com/gpu": "1000",
    }
    assert node.stock == {"2-4Gi": 3, "4-8Gi": 0, "ecs.gn5-c4g1.xlarge": None, "ecs.own.large": 1}
    assert node.own_types == {"ecs.own.large": eci.Spec("ecs.own.large", 96_000, 1024**4, 8, "H20")}
    hourly = node.prices.rates.hourly
    assert hourly(eci.size(2000, 4)) == pytest.approx(0.14)
    assert hourly(eci.TYPES["ecs.gn5-c4g1.xlarge"], spot=True) == pytest.approx(0.375)


def test_a_virtual_node_starts_instances_faster_than_a_pool_adds_nodes() -> None:
    delays = fleet.Delays()
    assert delays.image_pull <= delays.eci_start < delays.node_create + delays.node_ready
    told = member("delays: {eciStart: 4, imagePull: 1}").simulated
    assert told is not None
    assert (told.delays.eci_start, told.delays.image_pull) == (4, 1)


BAD = {
    "a size that does not exist": ("{zone: a, stock: {3-5Gi: 1}}", "stock", "'3-5Gi' is no size of ECI"),
    "an unknown instance type": ("{zone: a, stock: {ecs.none: 1}}", "stock", "'ecs.none' is no instance type"),
    "neither size nor type": ("{zone: a, stock: {big: 1}}", "stock", "'big' is neither a size"),
    "a negative stock": ("{zone: a, stock: {2-4Gi: -1}}", "stock.2-4Gi", "greater than or equal to 0"),
    "half an instance": ("{zone: a, stock: {2-4Gi: 1.5}}", "stock.2-4Gi", "valid integer"),
    "a price beyond numbers": ("{zone: a, prices: {gib: .inf}}", "prices.gib", "finite"),
    "a price of nothing": ("{zone: a, prices: {types: {ecs.none: 1}}}", "prices", "'ecs.none' is no instance type"),
    "a type without vCPU": (
        "{zone: a, instanceTypes: [{name: ecs.a, vcpu: 0, memory: 1Gi}]}",
        "instanceTypes[0].vcpu",
        "greater than 0",
    ),
    "a type of no memory": (
        "{zone: a, instanceTypes: [{name: ecs.a, vcpu: 1, memory: x}]}",
        "instanceTypes[0].memory",
        "quantity",
    ),
    "a type with a bad name": (
        "{zone: a, instanceTypes: [{name: big, vcpu: 1, memory: 1Gi}]}",
        "instanceTypes[0].name",
        "pattern",
    ),
    "a quota of no amount": ("{zone: a, allocatable: {cpu: much}}", "allocatable", "quantity"),
    "a zone that is no name": ("{zone: A_b}", "zone", "DNS label"),
    "an unknown field": ("{zone: a, colour: red}", "colour", "not permitted"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_virtual_node_is_told_by_its_field(case: str) -> None:
    node, field, says = BAD[case]
    with pytest.raises(Invalid) as caught:
        member(f"virtualNodes: [{node}]")
    (fault,) = caught.value.faults
    assert fault.field == f"members[0].simulated.virtualNodes[0].{field}"
    assert says in fault.message


@pytest.mark.parametrize(
    ("simulated", "field"),
    [
        ("nodes: [{allocatable: {}, price: -1}]", "nodes[0].price"),
        ("nodes: [{allocatable: {cpu: 6}, capacity: {cpu: 4}}]", "nodes[0].capacity"),
        ("pools: [{id: p, instanceType: t, allocatable: {}, max: 1, price: -1}]", "pools[0].price"),
        ("delays: {eciStart: -1}", "delays.eciStart"),
        ("virtualNodes: [{zone: a}, {zone: a}]", "virtualNodes"),
    ],
    ids=["a node's price", "less than is allocatable", "a pool's price", "a delay", "a zone twice"],
)
def test_other_faults_are_told_by_their_field(simulated: str, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        member(simulated)
    assert [fault.field for fault in caught.value.faults] == [f"members[0].simulated.{field}"]


# -- prices reach the services with the member's manifest


PRICED = VIRTUAL + ", nodes: [{name: own, count: 2, allocatable: {}, price: 0.4}, {name: free, allocatable: {}}]"


def test_prices_travel_in_the_members_manifest() -> None:
    cluster = cluster_of(member(PRICED), Kubeconfig(context="idc"))
    stock = ClusterManifest.read(json.loads(json.dumps(cluster.to_manifest()))).spec.stock
    assert stock == cluster.spec.stock
    node = stock.instance_prices("virtual-kubelet-cn-zhangjiakou-a")
    assert node.rates == eci.Prices(0.05, 0.01, {"ecs.gn5-c4g1.xlarge": 1.5}, 0.25)
    assert node.own_types["ecs.own.large"].gpus == 8
    assert [stock.node_price(name, {}) for name in ("own-1", "free")] == [0.4, 0.0]
    assert stock.instance_prices("another").rates == eci.Prices()


def test_a_stock_source_of_ones_own_keeps_the_described_prices() -> None:
    told = member(PRICED, ", stock: {source: none}").stock_or_default
    assert told.source == "none"
    assert told.node_price("own-1", {}) == 0.4
    assert told.instance_prices("virtual-kubelet-cn-zhangjiakou-a").vcpu == 0.05
    own = member(PRICED, ", stock: {nodes: [{price: 2}]}").stock_or_default
    assert own.node_price("free", {}) == 2
