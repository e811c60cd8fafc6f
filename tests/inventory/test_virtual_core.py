"""Virtual nodes: how they are recognised, and what a pod takes of one's quota."""

from __future__ import annotations

import pytest

from services.inventory.core.capacity import Capacity
from services.inventory.core.facts import NodeFacts
from services.inventory.core.virtual import hourly, instance_of, takes
from shared.contracts.capacity import InstanceType, VirtualStock
from shared.eci import GIB
from shared.units import unit_of

VIRTUAL_TAINT = ("virtual-kubelet.io/provider", "alibabacloud", "NoSchedule")
SOLD = VirtualStock(
    node="virtual-kubelet-a",
    vcpu=0.1,
    gib=0.01,
    types={"ecs.c6.large": 0.3, "ecs.own.large": 9.0},
    spot=0.5,
    instance_types=(InstanceType(name="ecs.own.large", cpu=4000, memory=GIB, gpus=2),),
)


@pytest.mark.parametrize(
    ("node", "virtual"),
    [
        pytest.param(NodeFacts("a", labels={"type": "virtual-kubelet"}), True, id="by label"),
        pytest.param(NodeFacts("a", taints=(VIRTUAL_TAINT,)), True, id="by taint"),
        pytest.param(
            NodeFacts("virtual-kubelet-cn-a", labels={"kubernetes.io/role": "agent"}), True, id="by role and name"
        ),
        pytest.param(NodeFacts("a", labels={"kubernetes.io/role": "agent"}), False, id="an agent of another cloud"),
        pytest.param(NodeFacts("virtual-kubelet-cn-a"), False, id="a name alone"),
        pytest.param(NodeFacts("a", taints=(("gpu", "", "NoSchedule"),)), False, id="another taint"),
    ],
)
def test_a_virtual_node_says_so_by_label_taint_or_role(node: NodeFacts, virtual: bool) -> None:
    assert node.virtual is virtual
    capacity = Capacity()
    capacity.put_node(node, now=0.0)
    (row,) = capacity.whole().rows
    assert row.phase == ("virtual" if virtual else "ready")
    assert (unit_of(capacity.whole().classes[row.class_id].labels) == "eci") is virtual


def test_virtual_nodes_are_known_by_name_while_they_are_there() -> None:
    capacity = Capacity()
    node = NodeFacts("v", labels={"type": "virtual-kubelet"})
    capacity.put_node(node, now=0.0)
    assert capacity.virtual == {"v": node}
    capacity.put_node(NodeFacts("v"), now=0.0)
    assert capacity.virtual == {}
    capacity.put_node(node, now=0.0)
    capacity.drop_node("v")
    assert capacity.virtual == {}


USE_SPECS, WRITTEN = "k8s.aliyun.com/eci-use-specs", "k8s.aliyun.com/eci-instance-spec"


@pytest.mark.parametrize(
    ("requests", "annotations", "size", "stock", "taken"),
    [
        pytest.param({"cpu": 1500, "memory": 3 * GIB}, {}, "", {}, (2000, 4), id="rounded up"),
        pytest.param({}, {}, "", {}, (2000, 4), id="nothing asked for: the usual size"),
        pytest.param({"cpu": 1500}, {}, "4-8Gi", {}, (4000, 8), id="as the instance says"),
        pytest.param({"cpu": 1500}, {WRITTEN: "4-16Gi"}, "", {}, (4000, 16), id="as was written back"),
        pytest.param({"cpu": 500}, {USE_SPECS: "8-16Gi,4-8Gi"}, "", {}, (8000, 16), id="the first that is listed"),
        pytest.param(
            {"cpu": 500}, {USE_SPECS: "8-16Gi,4-8Gi"}, "", {"8-16Gi": 0}, (4000, 8), id="the first that is in stock"
        ),
        pytest.param({"cpu": 500}, {USE_SPECS: "8-16Gi"}, "", {"8-16Gi": 0}, (8000, 16), id="sold out meanwhile"),
        pytest.param({"cpu": 500}, {USE_SPECS: "ecs.own.large"}, "", {}, (4000, 1), id="a type of the fleet file"),
        pytest.param({"cpu": 500}, {USE_SPECS: "ecs.none"}, "", {}, (500, 0), id="a type that does not exist"),
        pytest.param({"cpu": 500}, {}, "ecs.none", {}, (500, 1), id="an instance of an unknown type"),
        pytest.param({"cpu": 500_000}, {}, "", {}, (500_000, 0), id="larger than any size"),
    ],
)
def test_what_a_pod_takes_of_the_quota(
    requests: dict[str, int], annotations: dict[str, str], size: str, stock: dict[str, int], taken: tuple[int, float]
) -> None:
    sold = SOLD.model_copy(update={"stock": stock})
    found = takes(requests, instance_of(requests, annotations, size, sold))
    assert (found.get("cpu", 0), found.get("memory", 0) / GIB) == taken


def test_devices_and_other_resources_are_taken_too() -> None:
    requests = {"cpu": 500, "nvidia.com/gpu": 1, "ephemeral-storage": 7}
    spec = instance_of(requests, {USE_SPECS: "ecs.own.large"}, "", SOLD)
    assert takes(requests, spec) == {"cpu": 4000, "memory": GIB, "nvidia.com/gpu": 2, "ephemeral-storage": 7}


@pytest.mark.parametrize(
    ("spec", "spot", "price"),
    [
        pytest.param("2-4Gi", False, 0.24, id="vCPU and GiB"),
        pytest.param("ecs.c6.large", False, 0.3, id="its type's price"),
        pytest.param("ecs.c6.large", True, 0.15, id="spot"),
        pytest.param("ecs.own.large", False, 9.0, id="of the fleet file"),
        pytest.param("ecs.none", False, 0.0, id="unknown"),
    ],
)
def test_what_an_instance_costs(spec: str, spot: bool, price: float) -> None:
    assert hourly(spec, spot, SOLD) == pytest.approx(price)
