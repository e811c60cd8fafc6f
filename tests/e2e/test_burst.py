"""Workloads of the fleet that burst inside a member: both levels together, what it costs, and what may go wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cli.demo.observer import INSTANCES, is_ready, node_of
from cli.json_values import text
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.cost import Cost
from shared.contracts.placement import Placement
from shared.contracts.refs import ObjectRef
from shared.contracts.submit import Answer, Delete
from simulator.instances import SHELF, bill
from tests.cli.test_commands import until
from tests.e2e.command_line import CommandLine
from tests.e2e.harness import Play, playing
from tests.e2e.inside import CEILING, COST, ECI, MACHINE, VIRTUAL, Inside, fleet, pod, policy

WEB = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="default", name="web")
IDC: JsonObject = {"resource": "idc"}
VIRTUAL_UNIT: JsonObject = {"resource": "eci"}


def workload(*, replicas: int = 2, kind: str = "Deployment", annotations: JsonObject | None = None) -> JsonObject:
    """One CPU a replica."""
    labels: JsonObject = {"app": "web"}
    container: JsonObject = {"name": "web", "image": "nginx", "resources": {"requests": {"cpu": "1"}}}
    spec: JsonObject = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"schedulerName": "brim-scheduler", "containers": [container]},
        },
    }
    if kind == "StatefulSet":
        spec |= {"serviceName": "web", "podManagementPolicy": "Parallel"}
    metadata: JsonObject = {"name": "web", "namespace": "default", "annotations": annotations or {}}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec}


def propagation(*tiers: str, kind: str = "Deployment", annotations: JsonObject | None = None) -> JsonObject:
    """Each member a tier of its own."""
    return {
        "apiVersion": "policy.one.alibabacloud.com/v1alpha1",
        "kind": "PropagationPolicy",
        "metadata": {"name": "web", "namespace": "default", "annotations": annotations or {}},
        "spec": {
            "resourceSelectors": [{"apiVersion": "apps/v1", "kind": kind, "name": "web"}],
            "autoScaling": {"ecsProvision": True},
            "placement": {
                "clusterAffinities": [{"affinityName": tier, "clusterNames": [tier]} for tier in tiers],
                "replicaScheduling": {
                    "replicaSchedulingType": "Divided",
                    "replicaDivisionPreference": "Weighted",
                    "weightPreference": {"dynamicWeight": "AvailableReplicas"},
                },
            },
        },
    }


def spread(play: Play, *members: str) -> dict[tuple[str, str], int]:
    """Ready replicas by member and node; "" for those without a node."""
    counts: dict[tuple[str, str], int] = {}
    for entry in play.observer.pods("default", "web"):
        if is_ready(entry.manifest) or not node_of(entry.manifest):
            where = (entry.member, node_of(entry.manifest))
            counts[where] = counts.get(where, 0) + 1
    return counts


async def placement(play: Play) -> Placement:
    last = await play.bus.last("PLACEMENT", subjects.placement(WEB))
    assert last is not None
    return Placement.decode(last.data)


async def pending(play: Play, count: int, code: str) -> str:
    """Wait until so many replicas are pending in the placement in force; what it says of that under this code."""
    for _ in range(400):
        now = await placement(play)
        if now.pending == count and any(reason.code == code for reason in now.reasons):
            return next(reason.message for reason in now.reasons if reason.code == code)
        await play.stage.clock.sleep(1)
    pytest.fail(await play.decisions())


async def test_both_levels_together(tmp_path: Path) -> None:
    """A member's room is that of its units, each up to its max; then comes the next tier."""
    async with playing(tmp_path, fleet("near", "far")) as play:
        units = ({"resource": "idc", "max": 3}, {"resource": "eci", "max": 1})
        await play.submit(policy("units", {"app": "web"}, *units), workload(), propagation("near", "far"))
        await play.eventually(lambda: spread(play) == {("near", MACHINE): 2})
        await play.scale(WEB, 6)
        full = {("near", MACHINE): 3, ("near", VIRTUAL): 1, ("far", MACHINE): 2}
        await play.eventually(lambda: spread(play) == full)
        assert {share.member: share.per_hour for share in (await placement(play)).shares} == {"near": 1.0, "far": 0.0}

        await play.scale(WEB, 9)
        assert await pending(play, 1, "UnitFull") == "idc holds 3 of at most 3; eci holds 1 of at most 1"
        await play.eventually(lambda: spread(play) == {**full, ("far", MACHINE): 3, ("far", VIRTUAL): 1})
        page = await until(CommandLine.of(play), "explain", "deploy/web", shows="Units")
        rows = {tuple(line.split()) for line in page.lines}
        assert {("near", "idc", "3"), ("near", "eci", "1"), ("far", "idc", "3"), ("far", "eci", "1")} <= rows
        await play.scale(WEB, 3)
        await play.eventually(lambda: spread(play) == {("near", MACHINE): 3})


async def test_units_empty_in_the_order_that_the_policy_has_now(tmp_path: Path) -> None:
    async with playing(tmp_path, fleet("one", cpu=2)) as play:
        home = Inside(play, "one")
        await play.submit(policy("units", {"app": "web"}, IDC, VIRTUAL_UNIT), workload(replicas=4), propagation("one"))
        await play.eventually(lambda: spread(play) == {("one", MACHINE): 2, ("one", VIRTUAL): 2})

        def costs() -> dict[str, set[str]]:
            found: dict[str, set[str]] = {}
            for name, manifest in home.pods().items():
                found.setdefault(node_of(manifest), set()).add(home.annotation(name, COST))
            return found

        await play.eventually(lambda: costs() == {MACHINE: {"200"}, VIRTUAL: {"100"}})
        await play.submit(policy("units", {"app": "web"}, VIRTUAL_UNIT, IDC))
        await play.eventually(lambda: costs() == {MACHINE: {"100"}, VIRTUAL: {"200"}})
        kept = {name for name, manifest in home.pods().items() if node_of(manifest) == VIRTUAL}
        await play.scale(WEB, 2)
        await play.eventually(lambda: home.pods().keys() == kept)

        gone = Delete(refs=(ObjectRef.of(policy("units", {})),))
        assert not Answer.decode(await play.bus.request(subjects.DELETE, gone.encode())).faults
        await play.eventually(lambda: costs() == {VIRTUAL: {""}}, what="without a policy no cost is left")
        assert home.pods().keys() == kept


async def test_a_stateful_set_drops_its_highest_ordinal_and_explain_says_so(tmp_path: Path) -> None:
    async with playing(tmp_path, fleet("one", cpu=2)) as play:
        home = Inside(play, "one")
        await play.submit(
            policy("units", {"app": "web"}, IDC, VIRTUAL_UNIT),
            workload(replicas=3, kind="StatefulSet"),
            propagation("one", kind="StatefulSet"),
        )
        await play.eventually(lambda: spread(play) == {("one", MACHINE): 2, ("one", VIRTUAL): 1})
        assert [home.annotation(name, COST) for name in home.pods()] == ["", "", ""]
        page = await until(CommandLine.of(play), "explain", "sts/web", shows="Units")
        assert "a StatefulSet gives up its highest ordinal first" in page.out
        await play.scale(WEB.model_copy(update={"kind": "StatefulSet"}), 2)
        await play.eventually(lambda: home.pods().keys() == {"web-0", "web-1"})


async def test_a_ceiling_leaves_the_rest_pending_whoever_carries_it(tmp_path: Path) -> None:
    """An instance costs 1 per hour here. The machine is paid for anyway and does not count."""
    async with playing(tmp_path, fleet("one", cpu=2)) as play:
        said: JsonObject = {CEILING: "2.5"}
        units = (IDC, VIRTUAL_UNIT)
        free = (policy("units", {"app": "web"}, *units), workload(replicas=6), propagation("one"))
        carriers = (
            policy("units", {"app": "web"}, *units, annotations=said),
            workload(replicas=6, annotations=said),
            propagation("one", annotations=said),
        )
        await play.submit(policy("units", {"app": "web"}, *units), workload(), propagation("one"))
        await play.eventually(lambda: spread(play) == {("one", MACHINE): 2})
        for place, carrier in enumerate(carriers):
            assert (await play.submit(*free[:place], carrier, *free[place + 1 :])).faults == ()
            if place != 1:
                await play.scale(WEB, 6)
            message = await pending(play, 2, "CostCeiling")
            assert "2.5" in message
            await play.eventually(lambda: spread(play) == {("one", MACHINE): 2, ("one", VIRTUAL): 2})
            assert (await placement(play)).shares[0].per_hour == 2.0
            await play.submit(*free[:1], free[2], workload(replicas=2))
            await play.eventually(lambda: spread(play) == {("one", MACHINE): 2})
        await play.submit(*free)
        await play.eventually(lambda: spread(play) == {("one", MACHINE): 2, ("one", VIRTUAL): 4})


async def test_what_a_burst_cost_is_what_the_cloud_billed(tmp_path: Path) -> None:
    async with playing(tmp_path, fleet("one", cpu=2)) as play:
        bills: dict[str, float] = {}
        store = play.stage.brim.members["one"].store
        store.subscribe(
            lambda change: bills.update({change.object["metadata"]["name"]: bill(change.object, 0)[1]}), SHELF
        )
        await play.submit(policy("units", {"app": "web"}, IDC, VIRTUAL_UNIT), workload(replicas=5), propagation("one"))
        await play.eventually(lambda: spread(play) == {("one", MACHINE): 2, ("one", VIRTUAL): 3})
        await play.stage.clock.sleep(60)
        await play.scale(WEB, 3)
        await play.eventually(lambda: len(play.observer.instances("default")) == 1)
        await booked_cost(play, pods=2, running=1)
        await play.restart("inventory")
        await play.stage.brim.ready()
        await play.scale(WEB, 2)
        await play.eventually(lambda: not play.observer.instances("default"))
        cost = await booked_cost(play, pods=3)
        assert len(bills) == 3
        billed = sum(bills.values())
        assert cost.amount(0) == pytest.approx(billed, abs=3 / 3600), "the cloud counts whole seconds of each"
        page = await CommandLine.of(play)("get", "cost")
        (row,) = page.rows
        assert row[:5] == ["deployment/web", "one", "eci", "0", "0.00"]
        assert float(row[6]) == pytest.approx(billed, abs=0.001)


async def booked_cost(play: Play, pods: int, running: int = 0) -> Cost:
    """What the workload cost, once so many pods on instances are booked, and so many are being paid for."""
    for _ in range(200):
        last = await play.bus.last("COST", subjects.cost("one", WEB))
        if last is not None:
            cost = Cost.decode(last.data)
            if len(cost.meters) == running and [(entry.unit, entry.pods) for entry in cost.booked] == [("eci", pods)]:
                return cost
        await play.stage.clock.sleep(2)
    pytest.fail(f"never booked {pods} pods: {last}")


async def test_what_leaks_is_found_and_given_back(tmp_path: Path) -> None:
    async with playing(tmp_path, fleet("one"), speed=90) as play:
        home, cloud = Inside(play, "one"), play.stage.brim.members["one"]
        on_eci: JsonObject = {ECI: "true"}
        await home.create(
            pod("short", labels=on_eci, annotations={"simulator.brim.dev/outlives-pod": "true"}),
            pod("stays", labels=on_eci),
        )
        await play.eventually(lambda: home.runs("short", VIRTUAL) and home.runs("stays", VIRTUAL))
        await home.delete("short")
        await play.eventually(lambda: "short" not in home.pods())
        assert len(play.observer.instances("default")) == 2, "it is paid for, and nobody uses it"
        await play.eventually(lambda: len(play.observer.instances("default")) == 1)
        assert home.runs("stays", VIRTUAL), "what has its pod is nobody's leak"

        cloud.lose_node(VIRTUAL)
        await play.eventually(lambda: "stays" not in home.pods())
        assert f"its virtual node {VIRTUAL} is gone" in await home.told("stays", "VirtualNodeGone")
        await play.eventually(lambda: not play.observer.instances("default"), what="and its instance goes after it")


Blow = Callable[[Play], Awaitable[None]]
BLOWS: dict[str, Blow] = {
    **{name: lambda play, name=name: play.restart(name) for name in ("scheduler", "executor", "inventory")},  # type: ignore[misc]
    "bus restarts": lambda play: play.restart_bus(kill=False),
    "bus crashes": lambda play: play.restart_bus(kill=True),
}


async def test_any_part_ends_in_the_middle_of_a_burst(tmp_path: Path) -> None:
    """Nothing is lost, nothing is doubled: no pod more than wanted, one node for each, one instance for each on ECI."""
    async with playing(tmp_path, fleet("one")) as play:
        placed: dict[str, set[str]] = {}
        bought: set[str] = set()

        def look() -> None:
            for entry in play.observer.pods("default", "web"):
                if node := node_of(entry.manifest):
                    placed.setdefault(text(entry.manifest, "metadata", "uid"), set()).add(node)
            bought.update(text(entry.manifest, "metadata", "name") for entry in play.observer.objects(INSTANCES))

        play.observer.gauges.append(look)
        await play.submit(policy("units", {"app": "web"}, IDC, VIRTUAL_UNIT), workload(replicas=4), propagation("one"))
        await play.eventually(lambda: spread(play) == {("one", MACHINE): 4})
        for name, blow in BLOWS.items():
            placed.clear()
            bought.clear()
            await play.has_room(WEB, {"one": (12, 0)})
            await play.scale(WEB, 12)
            await blow(play)
            await play.eventually(lambda: spread(play) == {("one", MACHINE): 4, ("one", VIRTUAL): 8}, what=name)
            assert len(placed) == 12, f"{name}: pods were started twice"
            assert all(len(nodes) == 1 for nodes in placed.values()), name
            assert len(bought) == 8, f"{name}: instances were bought twice"
            await play.scale(WEB, 4)
            await blow(play)
            await play.eventually(lambda: spread(play) == {("one", MACHINE): 4}, what=f"{name} while it shrinks")
            await play.eventually(lambda: not play.observer.instances("default"), what=f"{name}: nothing is paid for")
        last = await play.bus.last("COST", subjects.cost("one", WEB))
        assert last is not None
        booked = sum(entry.pods for entry in Cost.decode(last.data).booked)
        assert 0 < booked <= 8 * len(BLOWS), (
            "what inventory had not told yet when it ended may be missing, never doubled"
        )


BAD: dict[str, tuple[JsonObject, str]] = {
    "an unknown resource": (policy("bad", {}, {"resource": "acs"}), "spec.units[0].resource"),
    "an unknown strategy": (policy("bad", {}, IDC, strategy="random"), "strategy"),
    "a negative max": (policy("bad", {}, {"resource": "idc", "max": -1}), "spec.units[0].max"),
    "no units": (policy("bad", {}), "units"),
    "a policy of waiting that does not exist": (
        policy("bad", {}, IDC, whenTryNextUnits={"policy": "Never"}),
        "whenTryNextUnits.policy",
    ),
    "a ceiling that is no number": (policy("bad", {}, IDC, annotations={CEILING: "a lot"}), CEILING),
}


async def test_bad_policies_are_refused_field_by_field_and_odd_ones_warned_of(tmp_path: Path) -> None:
    async with playing(tmp_path, fleet("one")) as play:
        for name, (manifest, field) in BAD.items():
            answer = await play.submit(manifest)
            assert answer.accepted == (), name
            assert any(field in fault.field for fault in answer.faults), f"{name}: {answer.faults}"
        for unit in ("idc", "eci"):
            odd = policy(f"odd-{unit}", {"app": "web"}, {"resource": unit, "nodeSelector": {"key2": "value2"}})
            answer = await play.submit(odd)
            assert answer.faults == ()
            assert "nodeSelector" in " ".join(answer.accepted[0].warnings)
        await play.submit(workload(), propagation("one"))
        await play.eventually(lambda: spread(play) == {("one", VIRTUAL): 2}, what="odd-eci holds, as if it had none")
