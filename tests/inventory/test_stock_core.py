"""What an autoscaler could still add."""

from __future__ import annotations

import json

import pytest

from services.inventory import node_pools
from services.inventory.core.daemons import Daemons
from services.inventory.core.stock import PoolFacts, Supply, pools_of, stock_of
from services.inventory.projections import ConfigMap
from shared.fleet import NodePool, Stock
from shared.kube import Metadata


@pytest.mark.parametrize(
    ("supplies", "stock"),
    [
        ([], 0),
        ([Supply("t", "WithoutStock")], 0),
        ([Supply("t", "WithStock")], None),
        ([Supply("t", "ClosedWithStock")], None),
        ([Supply("t", "WithoutStock"), Supply("t", "WithStock")], None),
        ([Supply("t", "WithStock", 3), Supply("t", "WithStock", 4)], 7),
        ([Supply("t", "WithStock", 3), Supply("t", "WithStock")], None),
        ([Supply("other", "WithStock")], 0),
        ([Supply("t", "SomethingNew")], 0),
    ],
)
def test_stock(supplies: list[Supply], stock: int | None) -> None:
    assert stock_of(supplies, "t") == stock


@pytest.mark.parametrize(
    ("nodes", "stock", "headroom"), [(0, None, 5), (2, None, 3), (9, None, 0), (0, 2, 2), (1, 0, 0)]
)
def test_headroom(nodes: int, stock: int | None, headroom: int) -> None:
    (pool,) = pools_of([PoolFacts("p", "t", max=5, stock=stock)], {"p": nodes}, Daemons())
    assert pool.headroom == headroom


def test_a_pool_tells_the_labels_its_nodes_will_have() -> None:
    (pool,) = pools_of([PoolFacts("p", "t", max=1, labels={"gpu": "yes"}, allocatable={"cpu": 1000})], {}, Daemons())
    assert pool.labels == {
        "alibabacloud.com/nodepool-id": "p",
        "node.kubernetes.io/instance-type": "t",
        "gpu": "yes",
    }
    assert pool.allocatable == {"cpu": 1000, "pods": 110}


def config_map(name: str, annotations: dict[str, str] | None = None, **data: object) -> ConfigMap:
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in data.items()}
    return ConfigMap(metadata=Metadata(name=name, namespace="kube-system", annotations=annotations or {}), data=texts)


TOLD = Stock(
    source="nodepool-inventory", pools=(NodePool(id="p", instance_type="t", allocatable={}, max=0, price=2.5),)
)
CONFIGURATION = {"id": "p", "instanceTypes": ["t"], "resources": {"cpu": "4"}, "min": 0, "max": 5}


def inventory(*states: str, annotations: dict[str, str] | None = None) -> ConfigMap:
    supplies = [{"InstanceType": "t", "Zone": "z", "State": state} for state in states]
    return config_map("p-inventory-status", annotations, status={"SupplySeqs": supplies})


@pytest.mark.parametrize(
    ("told", "stock"),
    [
        pytest.param(inventory("WithStock"), None, id="some"),
        pytest.param(inventory("WithoutStock"), 0, id="none"),
        pytest.param(inventory("WithStock", annotations={node_pools.COUNT_ANNOTATION: "3"}), 3, id="a number"),
        pytest.param(inventory("WithoutStock", annotations={node_pools.COUNT_ANNOTATION: "3"}), 0, id="none in spite"),
        pytest.param(config_map("p-inventory-status", status="{"), 0, id="rubbish"),
        pytest.param(config_map("p-inventory-status", status=[1]), 0, id="another form"),
        pytest.param(config_map("p-inventory-status"), 0, id="nothing said"),
    ],
)
def test_pools_from_config_maps(told: ConfigMap, stock: int | None) -> None:
    maps = {
        "autoscaler-meta": config_map("autoscaler-meta", scaling_configurations=[CONFIGURATION]),
        told.metadata.name: told,
    }
    (pool,) = node_pools.pool_facts(TOLD, maps)
    assert (pool.stock, pool.max, pool.instance_type, pool.allocatable, pool.price) == (
        stock,
        5,
        "t",
        {"cpu": 4000},
        2.5,
    )


@pytest.mark.parametrize(
    "meta",
    [
        pytest.param({"scaling_configurations": {"p": CONFIGURATION}}, id="by id"),
        pytest.param(
            {"meta": {"scaling_configurations": [CONFIGURATION, {"max": 1}]}}, id="inside a value; one broken"
        ),
    ],
)
def test_other_forms_of_autoscaler_meta(meta: dict[str, object]) -> None:
    maps = {"autoscaler-meta": config_map("autoscaler-meta", **meta)}
    assert [pool.id for pool in node_pools.pool_facts(TOLD, maps)] == ["p"]


def test_a_static_table() -> None:
    pool = NodePool(id="p", instance_type="t", allocatable={"cpu": "2"}, max=3, stock=1, price=1.0)
    (facts,) = node_pools.pool_facts(Stock(source="static", pools=(pool,)), {})
    assert (facts.max, facts.stock, facts.price, facts.allocatable) == (3, 1, 1.0, {"cpu": 2000})
    assert node_pools.pool_facts(Stock(source="none", pools=(pool,)), {}) == []
