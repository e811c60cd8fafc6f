"""ECI: sizes, what a pod may run on, and what it costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import eci
from shared.quantities import amount
from shared.units import asks_for_eci, unit_of

GIB = 1024**3

ROUNDED = {
    "nothing asked": ({}, "2-4Gi"),
    "an exact size": ({"cpu": "2", "memory": "4Gi"}, "2-4Gi"),
    "cpu alone takes the least memory": ({"cpu": "2"}, "2-1Gi"),
    "memory alone takes the least cpu": ({"memory": "3Gi"}, "1-4Gi"),
    "a fraction": ({"cpu": "300m", "memory": "100Mi"}, "0.5-1Gi"),
    "just over": ({"cpu": "2001m", "memory": "2Gi"}, "4-2Gi"),
    "the largest": ({"cpu": "64", "memory": "512Gi"}, "64-512Gi"),
    "too much": ({"cpu": "65"}, None),
    "a device": ({"cpu": "1", "nvidia.com/gpu": "1"}, None),
}


@pytest.mark.parametrize("name", ROUNDED)
def test_requests_round_up(name: str) -> None:
    asked, size = ROUNDED[name]
    found = eci.round_up({key: amount(key, value) for key, value in asked.items()})
    assert (found.name if found else None) == size


@given(st.integers(0, 64_000), st.integers(0, 512 * GIB))
def test_the_size_holds_what_was_asked_and_no_smaller_one_does(cpu: int, memory: int) -> None:
    asked = {"cpu": cpu, "memory": memory}
    found = eci.round_up(asked)
    if found is None:
        assert not any(spec.holds(asked) for spec in eci.ALL_SIZES)
        return
    assert found.holds(asked)
    if cpu or memory:
        smaller = [spec for spec in eci.ALL_SIZES if (spec.cpu, spec.memory) < (found.cpu, found.memory)]
        assert not any(spec.holds(asked) for spec in smaller)


def test_listed_specs_in_their_order_that_hold_the_pod() -> None:
    listed = {eci.USE_SPECS: "2-4Gi, ecs.c6.xlarge,ecs.gn6i-c4g1.xlarge"}
    assert [spec.name for spec in eci.candidates({"cpu": 3000}, listed)] == ["ecs.c6.xlarge", "ecs.gn6i-c4g1.xlarge"]
    assert [spec.name for spec in eci.candidates({eci.GPU: 1}, listed)] == ["ecs.gn6i-c4g1.xlarge"]


def test_instance_types_of_the_fleet_file_count_too() -> None:
    own = {"ecs.own.large": eci.Spec("ecs.own.large", 96_000, 1024 * GIB, 8, "H20")}
    listed = {eci.USE_SPECS: "ecs.gn6i-c4g1.xlarge,ecs.own.large"}
    assert [spec.name for spec in eci.candidates({eci.GPU: 8}, listed, own)] == ["ecs.own.large"]
    with pytest.raises(ValueError, match=r"'ecs.own.large' is no instance type that brim knows"):
        eci.candidates({eci.GPU: 8}, listed)


def test_the_first_with_stock_is_chosen() -> None:
    specs = eci.specs_of({eci.USE_SPECS: "2-4Gi,4-8Gi,ecs.c6.xlarge"})
    assert [spec.name for spec in eci.chosen(specs, {"2-4Gi": 0, "4-8Gi": 3})] == ["4-8Gi", "ecs.c6.xlarge"]


@pytest.mark.parametrize("text", ["3-4Gi", "ecs.none.large", "huge", "2-4Gi,,4-8Gi", ",".join(["2-4Gi"] * 6)])
def test_specs_that_do_not_exist_are_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|type|specifications"):
        eci.specs_of({eci.USE_SPECS: text})


def test_prices() -> None:
    prices = eci.Prices(vcpu=0.1, gib=0.01, types={"ecs.c6.xlarge": 0.7}, spot=0.25)
    assert prices.hourly(eci.size(2000, 4)) == pytest.approx(0.24)
    assert prices.hourly(eci.TYPES["ecs.c6.xlarge"]) == 0.7
    assert prices.hourly(eci.TYPES["ecs.c6.xlarge"], spot=True) == pytest.approx(0.175)


UNITS = {
    "a machine": ({}, "idc"),
    "a pool's node": ({"alibabacloud.com/nodepool-id": "gpu"}, "ecs"),
    "a cloud node": ({"alibabacloud.com/ecs-instance-id": "i-1"}, "ecs"),
    "a virtual node": ({"type": "virtual-kubelet"}, "eci"),
    "a virtual node of a pool": ({"type": "virtual-kubelet", "alibabacloud.com/nodepool-id": "x"}, "eci"),
}


@pytest.mark.parametrize("name", UNITS)
def test_units_of_nodes(name: str) -> None:
    labels, unit = UNITS[name]
    assert unit_of(labels) == unit


def test_the_pods_own_word_wins_over_its_namespace() -> None:
    key = "alibabacloud.com/eci"
    assert asks_for_eci({key: "true"}, {})
    assert asks_for_eci({}, {key: "true"})
    assert not asks_for_eci({key: "false"}, {key: "true"})
    assert not asks_for_eci({}, {})
