"""The fleet file: what it says of virtual nodes, prices and delays, and what is wrong with it, field by field."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from shared import eci, fleet
from shared.contracts.cluster import ClusterManifest, cluster_of
from shared.errors import Invalid, Misconfigured
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
    "a negative stock": ("{zone: a, stock: {2-4Gi: -1}}", "stock.2-4Gi", "give 0 or more"),
    "half an instance": ("{zone: a, stock: {2-4Gi: 1.5}}", "stock.2-4Gi", "a whole number"),
    "a price beyond numbers": ("{zone: a, prices: {gib: .inf}}", "prices.gib", "finite"),
    "a price of nothing": ("{zone: a, prices: {types: {ecs.none: 1}}}", "prices", "'ecs.none' is no instance type"),
    "a type without vCPU": (
        "{zone: a, instanceTypes: [{name: ecs.a, vcpu: 0, memory: 1Gi}]}",
        "instanceTypes[0].vcpu",
        "more than 0",
    ),
    "a type of no memory": (
        "{zone: a, instanceTypes: [{name: ecs.a, vcpu: 1, memory: x}]}",
        "instanceTypes[0].memory",
        "quantity",
    ),
    "a type with a bad name": (
        "{zone: a, instanceTypes: [{name: big, vcpu: 1, memory: 1Gi}]}",
        "instanceTypes[0].name",
        "of the form",
    ),
    "a quota of no amount": ("{zone: a, allocatable: {cpu: much}}", "allocatable", "quantity"),
    "a zone that is no name": ("{zone: A_b}", "zone", "DNS label"),
    "an unknown field": ("{zone: a, colour: red}", "colour", "not known here"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_virtual_node_is_told_by_its_field(case: str) -> None:
    node, field, says = BAD[case]
    with pytest.raises(Invalid) as caught:
        member(f"virtualNodes: [{node}]")
    (fault,) = caught.value.faults
    assert fault.field == f"members[0].simulated.virtualNodes[0].{field}"
    assert says in fault.message


POOL = "{id: p, instanceType: t, allocatable: {}, max: 1}"


@pytest.mark.parametrize(
    ("simulated", "field"),
    [
        ("nodes: [{allocatable: {}, price: -1}]", "nodes[0].price"),
        ("nodes: [{allocatable: {cpu: 6}, capacity: {cpu: 4}}]", "nodes[0].capacity"),
        ("pools: [{id: p, instanceType: t, allocatable: {}, max: 1, price: -1}]", "pools[0].price"),
        ("delays: {eciStart: -1}", "delays.eciStart"),
        ("virtualNodes: [{zone: a}, {zone: a}]", "virtualNodes"),
        ("nodes: [{name: a, count: 2, allocatable: {}}, {name: a-1, allocatable: {}}]", "nodes"),
        (f"pools: [{POOL}, {POOL}]", "pools"),
        ("nodes: [{name: A_b, allocatable: {}}]", "nodes[0].name"),
        ("nodes: [{allocatable: {}, labels: {a b: c}}]", "nodes[0].labels"),
        ("nodes: [{allocatable: {}, labels: {a: b c}}]", "nodes[0].labels"),
        ("nodes: [{allocatable: {cpu: much}}]", "nodes[0].allocatable"),
    ],
    ids=[
        *(
            "a node's price",
            "less than is allocatable",
            "a pool's price",
            "a delay",
            "a zone twice",
            "a node's name twice",
            "a pool twice",
        ),
        *("a node's name", "a label's name", "a label's value", "an amount"),
    ],
)
def test_other_faults_are_told_by_their_field(simulated: str, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        member(simulated)
    assert [fault.field for fault in caught.value.faults] == [f"members[0].simulated.{field}"]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("members: []", ["f.yaml: members: a fleet has at least one member"]),
        ("kind: Fleet", ["f.yaml: members: this field is required"]),
        ("members: [{id: a}]", ["f.yaml: members[0]: give either kubeconfig or simulated, not both and not neither"]),
        (
            "members: [{id: a, simulated: {}}, {id: a, simulated: {}}]",
            ["f.yaml: members: member 'a' is given twice, at [0] and [1]"],
        ),
        ("kind: Pod\nmembers: 3", ["f.yaml: kind: give 'Fleet'", "f.yaml: members: give a list"]),
        ("[1]", ["f.yaml: give an object"]),
        ("members: [", ["f.yaml: line 1: malformed YAML: did not find expected node content"]),
        ("members: []\nmembers: []", ["f.yaml: line 2: malformed YAML: key 'members' is given twice"]),
        ("{", ["f.yaml: line 1: malformed JSON: Expecting property name enclosed in double quotes"]),
        (
            "members: [{id: a, taints: [{key: k, effect: Soon}], simulated: {}}]",
            ["f.yaml: members[0].taints[0].effect: give 'NoSchedule', 'PreferNoSchedule' or 'NoExecute'"],
        ),
    ],
    ids=[
        *("no members", "members missing", "no way to reach it", "an id twice", "another kind", "a list"),
        *("no YAML", "a key twice", "no JSON", "an unknown effect"),
    ],
)
def test_faults_of_the_whole_file(text: str, faults: list[str]) -> None:
    with pytest.raises(Invalid) as caught:
        fleet.parse(text, source="f.yaml")
    assert [str(fault) for fault in caught.value.faults] == faults


@pytest.mark.parametrize(
    ("text", "words"), [("", "is empty"), ("a: 1\n---\nb: 2", "holds 2 documents")], ids=["nothing", "several"]
)
def test_a_fleet_file_is_one_document(text: str, words: str) -> None:
    with pytest.raises(Misconfigured, match=f"f.yaml {words}: a fleet file is one document, of kind Fleet"):
        fleet.parse(text, source="f.yaml")


def test_an_editor_can_check_the_file_by_its_schema() -> None:
    found = fleet.schema()
    assert found["$id"] == "urn:brim:fleet"
    assert isinstance(found["properties"], dict)
    assert set(found["properties"]) == {"apiVersion", "kind", "members"}


# -- the documentation


PAGE = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_documented_files_are_sound(number: int) -> None:
    fleet.parse(EXAMPLES[number])


def test_the_documented_delays_are_the_defaults() -> None:
    simulated = fleet.parse(EXAMPLES[1]).members[0].simulated
    assert simulated is not None
    assert simulated.delays == fleet.Delays()
    assert simulated.delays.model_fields_set == set(fleet.Delays.model_fields)


@pytest.mark.parametrize(
    "model",
    [fleet.Member, fleet.Simulated, fleet.NodeGroup, fleet.NodePool, fleet.VirtualNode, fleet.Delays, fleet.Stock],
)
def test_every_field_is_documented(model: type[BaseModel]) -> None:
    names = {field.alias or name for name, field in model.model_fields.items()} - {"instanceTypes"}
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", PAGE)] == []


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
