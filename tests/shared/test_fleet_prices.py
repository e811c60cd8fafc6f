"""What a member's nodes and serverless instances cost, as the fleet file says it."""

from __future__ import annotations

import pytest

from shared import fleet
from shared.errors import Invalid
from shared.fleet import NodePrice, Stock, VirtualPrices

SIMULATED = fleet.parse(
    """
members:
- id: idc
  simulated:
    nodes:
    - {name: gpu, count: 2, allocatable: {cpu: "8"}, labels: {kind: gpu}, price: 3.5}
    - {name: old, allocatable: {cpu: "8"}}
    virtualNodes:
    - {zone: cn-beijing-a, prices: {vcpu: 0.05, gib: 0.006, types: {ecs.gn5-c4g1.xlarge: 12}, spot: 0.3}}
"""
)


def test_a_simulated_member_says_what_its_nodes_and_instances_cost() -> None:
    stock = SIMULATED.members[0].stock_or_default
    assert stock.node_price("gpu-1", {"kind": "gpu", "zone": "a"}) == 3.5
    assert stock.node_price("old", {}) == 0.0
    prices = stock.instance_prices("virtual-kubelet-cn-beijing-a")
    assert (prices.vcpu, prices.gib, prices.types, prices.spot) == (0.05, 0.006, {"ecs.gn5-c4g1.xlarge": 12}, 0.3)


@pytest.mark.parametrize(
    ("price", "name", "labels", "fits"),
    [
        pytest.param(NodePrice(name="gpu", price=1), "gpu", {}, True, id="its own name"),
        pytest.param(NodePrice(name="gpu", price=1), "gpu-12", {}, True, id="one of the group"),
        pytest.param(NodePrice(name="gpu", price=1), "gpu-big-1", {}, False, id="of another group"),
        pytest.param(NodePrice(name="gpu", price=1), "gpux", {}, False, id="only begins so"),
        pytest.param(NodePrice(labels={"a": "b"}, price=1), "any", {"a": "b", "c": "d"}, True, id="labels"),
        pytest.param(NodePrice(labels={"a": "b"}, price=1), "any", {"a": "x"}, False, id="other labels"),
        pytest.param(NodePrice(name="gpu", labels={"a": "b"}, price=1), "gpu", {}, False, id="both must fit"),
        pytest.param(NodePrice(price=1), "any", {}, True, id="every node"),
    ],
)
def test_which_nodes_a_price_is_of(price: NodePrice, name: str, labels: dict[str, str], fits: bool) -> None:
    assert price.is_of(name, labels) is fits


def test_the_first_price_that_fits_counts() -> None:
    stock = Stock(nodes=(NodePrice(name="gpu", price=2), NodePrice(price=1)))
    assert [stock.node_price(name, {}) for name in ("gpu-0", "old")] == [2, 1]


def test_instances_of_a_node_that_is_not_named_cost_what_the_nameless_entry_says() -> None:
    stock = Stock(virtual=(VirtualPrices(vcpu=1), VirtualPrices(node="special", vcpu=2)))
    assert [stock.instance_prices(node).vcpu for node in ("special", "other")] == [2, 1]
    assert Stock().instance_prices("other").vcpu == 0.0


@pytest.mark.parametrize(
    "bad",
    ["nodes: [{price: -1}]", "virtual: [{vcpu: -0.1}]", "virtual: [{spot: 2}]", "virtual: [{types: {a: -1}}]"],
)
def test_a_price_below_zero_or_a_share_above_one_is_refused(bad: str) -> None:
    with pytest.raises(Invalid):
        fleet.parse(f"members: [{{id: a, kubeconfig: {{context: a}}, stock: {{{bad}}}}}]")
