"""ECI's stock as a ConfigMap: true at every moment, and changed through it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared.fleet import VirtualNode
from simulator.objects import Object
from simulator.stock import ANNOTATION
from tests.simulator.eci import ZONE, start, stock, virtual
from tests.simulator.harness import Driver, cluster

MAP = "eci-inventory-status"


def told(driver: Driver) -> list[Object]:
    found = driver.get("configmaps", MAP, "kube-system")
    assert found is not None
    return list(json.loads(found["data"]["status"])["SupplySeqs"])


def annotation(driver: Driver) -> str:
    found = driver.get("configmaps", MAP, "kube-system")
    assert found is not None
    return str((found["metadata"].get("annotations") or {}).get(ANNOTATION, ""))


def annotate(driver: Driver, text: str) -> None:
    driver.patch("configmaps", MAP, {"metadata": {"annotations": {ANNOTATION: text}}}, "kube-system")


def write(driver: Driver, *entries: Object) -> None:
    data = {"status": json.dumps({"SupplySeqs": entries})}
    driver.patch("configmaps", MAP, {"data": data}, "kube-system")


async def test_what_is_known_of_the_stock_is_told() -> None:
    async with virtual(stock={"2-4Gi": 3, "ecs.c6.xlarge": 0, "4-8Gi": None}) as driver:
        assert told(driver) == [
            {"Size": "2-4Gi", "Zone": ZONE, "State": "WithStock", "Stock": 3},
            {"Size": "4-8Gi", "Zone": ZONE, "State": "WithStock"},
            {"InstanceType": "ecs.c6.xlarge", "Zone": ZONE, "State": "WithoutStock", "Stock": 0},
        ]
        assert annotation(driver) == "2-4Gi=3,4-8Gi=some,ecs.c6.xlarge=0"


async def test_it_stays_true_as_instances_come_and_go() -> None:
    async with virtual(stock={"2-1Gi": 1}) as driver:
        start(driver, cpu="2")
        await driver.until(lambda: told(driver)[0]["State"] == "WithoutStock")
        driver.delete("pods", "one")
        await driver.until(lambda: told(driver)[0] == {"Size": "2-1Gi", "Zone": ZONE, "State": "WithStock", "Stock": 1})


async def test_it_can_be_changed_while_it_runs() -> None:
    async with virtual() as driver:
        assert told(driver) == []
        driver.member.set_eci_stock(ZONE, "2-4", 0)
        await driver.until(lambda: told(driver) and told(driver)[0]["State"] == "WithoutStock")
        driver.member.set_eci_stock(ZONE, "2-4Gi", None)
        await driver.until(lambda: told(driver) == [{"Size": "2-4Gi", "Zone": ZONE, "State": "WithStock"}])
        with pytest.raises(KeyError):
            driver.member.set_eci_stock("elsewhere", "2-4Gi", 1)
        with pytest.raises(ValueError, match="no size of ECI"):
            driver.member.set_eci_stock(ZONE, "3-5Gi", 1)


BY_ANNOTATION = {
    "one of them": ("2-4Gi=9", {"2-4Gi": 9, "4-8Gi": 0}),
    "another one": ("1-2=4", {"2-4Gi": 3, "4-8Gi": 0, "1-2Gi": 4}),
    "several, and spaces": ("2-4Gi=0, 4-8Gi=2", {"2-4Gi": 0, "4-8Gi": 2}),
    "a number that is not known": ("4-8Gi=some", {"2-4Gi": 3, "4-8Gi": None}),
    "with its zone": (f"{ZONE}/2-4Gi=1", {"2-4Gi": 1, "4-8Gi": 0}),
    "another zone": ("elsewhere/2-4Gi=1", {"2-4Gi": 3, "4-8Gi": 0}),
    "no size": ("huge=1", {"2-4Gi": 3, "4-8Gi": 0}),
    "no number": ("2-4Gi=-1", {"2-4Gi": 3, "4-8Gi": 0}),
    "nothing": ("", {"2-4Gi": 3, "4-8Gi": 0}),
}


@pytest.mark.parametrize("case", BY_ANNOTATION)
async def test_an_annotation_changes_what_it_names(case: str) -> None:
    text, after = BY_ANNOTATION[case]
    async with virtual(stock={"2-4Gi": 3, "4-8Gi": 0}) as driver:
        annotate(driver, text)
        await driver.settled()
        assert stock(driver) == after
        shown = {one["Size"]: one.get("Stock") for one in told(driver)}
        assert shown == after
        assert annotation(driver).count("=") == len(after)


def entry(size: str = "2-4Gi", **fields: Any) -> Object:
    return {"Size": size, "Zone": ZONE, **fields}


BY_STATUS = {
    "a number": ([entry(State="WithStock", Stock=9)], {"2-4Gi": 9}),
    "sold out": ([entry(State="WithoutStock", Stock=3)], {"2-4Gi": 0}),
    "none left": ([entry(State="WithStock", Stock=0)], {"2-4Gi": 0}),
    "the same": ([entry(State="WithStock", Stock=3)], {"2-4Gi": 3}),
    "one more size": (
        [entry(State="WithStock", Stock=3), entry("4-8Gi", State="WithoutStock")],
        {"2-4Gi": 3, "4-8Gi": 0},
    ),
    "one in all zones": ([{"Size": "2-4Gi", "State": "WithoutStock"}], {"2-4Gi": 0}),
    "an entry removed": ([], {"2-4Gi": None}),
    "what is no size": ([entry(State="WithStock", Stock=3), entry("huge", State="WithoutStock")], {"2-4Gi": 3}),
}


@pytest.mark.parametrize("case", BY_STATUS)
async def test_the_status_itself_can_be_edited(case: str) -> None:
    entries, after = BY_STATUS[case]
    async with virtual(stock={"2-4Gi": 3}) as driver:
        write(driver, *entries)
        await driver.settled()
        assert stock(driver) == after


async def test_a_size_that_is_sold_out_comes_back_by_its_state() -> None:
    async with virtual(stock={"2-4Gi": 0}) as driver:
        write(driver, entry(State="WithStock", Stock=0))
        await driver.settled()
        assert stock(driver) == {"2-4Gi": None}


@pytest.mark.parametrize("status", ["no json", "[]", '{"SupplySeqs": 3}', '{"SupplySeqs": [{"Zone": "a"}]}'])
async def test_a_status_that_cannot_be_read_is_written_anew(status: str) -> None:
    async with virtual(stock={"2-4Gi": 3}) as driver:
        start(driver, annotations={"k8s.aliyun.com/eci-use-specs": "2-4Gi"})
        await driver.until(driver.ready_pods)
        driver.patch("configmaps", MAP, {"data": {"status": status}}, "kube-system")
        await driver.settled()
        assert told(driver) == [entry(State="WithStock", Stock=2)]


async def test_a_deleted_map_is_written_anew() -> None:
    async with virtual(stock={"2-4Gi": 3}) as driver:
        driver.delete("configmaps", MAP, "kube-system")
        await driver.until(lambda: driver.get("configmaps", MAP, "kube-system"))
        assert stock(driver) == {"2-4Gi": 3}


async def test_each_zone_has_its_own() -> None:
    zones = tuple(VirtualNode(zone=zone, stock={"2-4Gi": 3}) for zone in ("a", "b"))
    async with cluster(virtual=zones) as driver:
        assert annotation(driver) == "a/2-4Gi=3,b/2-4Gi=3"
        annotate(driver, "b/2-4Gi=0")
        await driver.settled()
        left = driver.member.virtual_kubelet.instances.stock.left
        assert (left("a"), left("b")) == ({"2-4Gi": 3}, {"2-4Gi": 0})
        annotate(driver, "2-4Gi=7")
        await driver.settled()
        assert (left("a"), left("b")) == ({"2-4Gi": 7}, {"2-4Gi": 7})


async def test_stock_that_was_changed_survives_a_restart(tmp_path: Path) -> None:
    async with virtual(stock={"2-4Gi": 3, "1-2Gi": 5}, data=tmp_path) as driver:
        driver.member.set_eci_stock(ZONE, "2-4Gi", 1)
        driver.member.set_eci_stock(ZONE, "1-2Gi", None)
    async with virtual(stock={"2-4Gi": 3, "1-2Gi": 5}, data=tmp_path) as driver:
        assert stock(driver) == {"2-4Gi": 1, "1-2Gi": None}
