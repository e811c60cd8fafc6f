"""Pods that somebody creates straight in a member: which of them brim binds, where, and what it says of the others."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import anyio
import pytest

from cli.json_values import text
from shared.contracts.base import JsonObject
from shared.contracts.binding import Bind, decode_binding
from shared.contracts.refs import ObjectRef
from tests.cli.test_commands import until
from tests.e2e.command_line import CommandLine
from tests.e2e.harness import WAIT, Play, playing
from tests.e2e.inside import (
    COST,
    ECI,
    MACHINE,
    OTHER_VIRTUAL,
    OTHER_ZONE,
    SPEC,
    USE_SPECS,
    VIRTUAL,
    ZONE,
    Inside,
    deployment,
    fleet,
    pod,
    policy,
    priority_class,
    tiers,
)

TEAM = ObjectRef(group="", version="v1", kind="Namespace", namespace="", name="team")
SSD: JsonObject = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]
        }
    }
}
PROFILE = [
    {
        "name": "batch",
        "objectSelector": {"matchExpressions": [{"key": "kind", "operator": "In", "values": ["batch", "once"]}]},
        "effect": {"annotations": {USE_SPECS: "4-8Gi"}, "labels": {"team": "batch"}},
    }
]


async def test_who_asks_for_eci_and_what_that_overrides(tmp_path: Path) -> None:
    async with playing(tmp_path, fleet("one")) as play:
        home = Inside(play, "one")
        await play.submit(policy("at-home", {"at": "home"}, {"resource": "idc"}))
        await home.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
        await home.create(pod("old", namespace="team"))
        await play.eventually(lambda: home.runs("old", MACHINE, "team"))

        await home.patch(TEAM, {"metadata": {"labels": {ECI: "true"}}})
        await home.create(pod("new", namespace="team", scheduler="default-scheduler"))
        await home.create(pod("not-this-one", namespace="team", labels={ECI: "false"}))
        await play.eventually(lambda: home.runs("new", VIRTUAL, "team") and home.runs("not-this-one", MACHINE, "team"))
        await home.patch(TEAM, {"metadata": {"labels": {ECI: None}}})
        assert await first_at_home(play, home)
        assert home.runs("old", MACHINE, "team"), "only new pods go to ECI"
        assert home.runs("new", VIRTUAL, "team"), "and they stay when the label goes"

        wish = {"nodeSelector": {"disk": "ssd"}, "affinity": SSD}
        await home.create(pod("anyway", labels={ECI: "true", "at": "home"}, **wish))
        await play.eventually(lambda: home.runs("anyway", VIRTUAL))

        data = {"selectors": json.dumps(PROFILE)}
        metadata: JsonObject = {"name": "eci-profile", "namespace": "kube-system"}
        await home.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
        await home.create(pod("batch", labels={"kind": "batch"}, scheduler="default-scheduler"))
        await play.eventually(lambda: home.runs("batch", VIRTUAL))
        assert home.annotation("batch", SPEC) == "4-8Gi", "the profile's annotation chose the instance"
        assert text(home.pods()["batch"], "metadata", "labels", "team") == "batch"


async def first_at_home(play: Play, home: Inside) -> bool:
    """Whether new pods of the team run on the machine: soon, as inventory tells of a namespace a moment later."""
    for name in (f"newer-{number}" for number in range(9)):
        await home.create(pod(name, namespace="team", cpu="100m"))
        await play.eventually(partial(runs_somewhere, home, name))
        if home.runs(name, MACHINE, "team"):
            return True
    return False


def runs_somewhere(home: Inside, name: str) -> bool:
    return any(home.runs(name, node, "team") for node in (MACHINE, VIRTUAL))


async def test_what_brim_leaves_alone_it_names(tmp_path: Path) -> None:
    async with playing(tmp_path, fleet("one")) as play:
        home = Inside(play, "one")
        units = ({"resource": "idc"}, {"resource": "eci"})
        await play.submit(
            policy("b-same", {"app": "both"}, {"resource": "eci"}),
            policy("a-same", {"app": "both"}, {"resource": "idc"}),
            policy("foreign", {"app": "foreign"}, *units),
        )
        claim: JsonObject = {"name": "data", "persistentVolumeClaim": {"claimName": "disk-1"}}
        await home.create(
            pod("bound-to-a-zone", volumes=[claim]),
            pod("devices", resourceClaims=[{"name": "gpu", "resourceClaimName": "gpu-1"}]),
            pod("foreign", scheduler="volcano"),
            pod("both"),
            pod("no-such-size", labels={ECI: "true"}, annotations={USE_SPECS: "3-7Gi"}),
            pod("too-large", cpu="999", labels={ECI: "true"}),
        )
        assert "disk-1" in await home.told("bound-to-a-zone", "UnsupportedConstraint")
        assert "resource claim gpu" in await home.told("devices", "UnsupportedConstraint")
        assert "names volcano" in await home.told("foreign", "OtherScheduler")
        await play.eventually(lambda: home.runs("both", MACHINE), what="the first policy by name holds")
        assert "b-same" in await home.told("both", "SeveralPolicies")
        assert "3-7Gi" in await home.told("no-such-size", "FailedScheduling")
        assert "no size of ECI" in await home.told("too-large", "FailedScheduling")
        left = ("bound-to-a-zone", "devices", "foreign", "no-such-size", "too-large")
        assert home.nodes(*left) == [""] * len(left)


async def test_when_the_next_unit_is_tried(tmp_path: Path) -> None:
    """The machine is full, of a pod that ends; each policy has its own idea of how long to wait for it."""
    async with playing(tmp_path, fleet("one", cpu=1, stop=60)) as play:
        home = Inside(play, "one")
        rules: dict[str, JsonObject] = {
            "eager": {"policy": "LackResourceOrExceedMax"},
            "patient": {"policy": "ExceedMax"},
            "polite": {"policy": "LackResourceAndNoTerminating"},
            "timed": {"policy": "TimeoutOrExceedMax", "timeout": "90s"},
        }
        await play.submit(
            *(
                policy(name, {"for": name}, {"resource": "idc", "max": 9}, {"resource": "eci"}, whenTryNextUnits=rule)
                for name, rule in rules.items()
            )
        )
        await home.create(pod("first", labels={"for": "polite"}))
        await play.eventually(lambda: home.runs("first", MACHINE))
        begun = play.stage.clock.now()
        await home.delete("first")
        await play.eventually(lambda: bool(text(home.pods()["first"], "metadata", "deletionTimestamp")))
        await home.create(*(pod(name, labels={"for": name}) for name in ("patient", "polite", "timed", "eager")))
        await play.eventually(lambda: home.runs("eager", VIRTUAL))
        assert home.nodes("patient", "polite", "timed") == ["", "", ""]
        assert "first" in home.pods()
        await play.eventually(lambda: home.runs("patient", MACHINE), what="the oldest has the room that was left")
        await play.eventually(lambda: home.runs("polite", VIRTUAL), what="nobody terminates any more")
        assert home.nodes("timed") == [""]
        await play.eventually(lambda: home.runs("timed", VIRTUAL))
        assert play.stage.clock.now() >= begun + 90


async def test_preemption_is_of_a_unit(tmp_path: Path) -> None:
    """After all units by default: where the next one has room nobody has to go."""
    async with playing(tmp_path, fleet("one", cpu=2)) as play:
        home = Inside(play, "one")
        both = ({"resource": "idc"}, {"resource": "eci"})
        await play.submit(
            policy("home", {"for": "home"}, {"resource": "idc"}),
            policy("both", {"for": "both"}, *both),
            policy("now", {"for": "now"}, *both, preemptPolicy="BeforeNextUnit"),
        )
        await home.create(
            priority_class("important", 1000), *(pod(name, labels={"for": "home"}) for name in ("a", "b"))
        )
        await play.eventually(lambda: home.runs("a", MACHINE) and home.runs("b", MACHINE))
        await home.create(pod("bursts", labels={"for": "both"}, priorityClassName="important"))
        await play.eventually(lambda: home.runs("bursts", VIRTUAL))
        assert {"a", "b"} < home.pods().keys()
        await home.create(pod("pushes", labels={"for": "now"}, priorityClassName="important"))
        await play.eventually(lambda: home.runs("pushes", MACHINE))
        assert len({"a", "b"} & home.pods().keys()) == 1
        await home.create(pod("pushes-too", labels={"for": "home"}, priorityClassName="important"))
        await play.eventually(lambda: home.runs("pushes-too", MACHINE))
        assert not {"a", "b"} & home.pods().keys()
        await home.create(pod("waits", labels={"for": "home"}, priorityClassName="important"))
        await home.told("waits", "FailedScheduling")
        assert home.runs("pushes", MACHINE), "equals stay"
        assert home.runs("pushes-too", MACHINE)


async def test_pods_under_a_budget_stay_while_others_can_go(tmp_path: Path) -> None:
    """Though they are the least important. The scheduler begins anew, so as to have heard of the budget for certain."""
    async with playing(tmp_path, fleet("one", cpu=3)) as play:
        home = Inside(play, "one")
        classes = (priority_class("important", 1000), priority_class("usual", 10))
        await play.submit(policy("home", {"for": "home"}, {"resource": "idc"}))
        guarded = ("guarded-a", "guarded-b")
        budget: JsonObject = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "guard", "namespace": "default"},
            "spec": {"minAvailable": 2, "selector": {"matchLabels": {"guarded": "yes"}}},
        }
        await home.create(*classes, budget)
        await home.create(*(pod(name, labels={"for": "home", "guarded": "yes"}) for name in guarded))
        await home.create(pod("usual", labels={"for": "home"}, priorityClassName="usual"))
        for name in (*guarded, "usual"):
            await play.eventually(lambda name=name: home.runs(name, MACHINE))
        await home.has_told_budgets()
        await play.restart("scheduler")

        await home.create(pod("first", labels={"for": "home"}, priorityClassName="important"))
        await play.eventually(lambda: home.runs("first", MACHINE))
        assert home.pods().keys() == {*guarded, "first"}

        await home.create(pod("second", labels={"for": "home"}, priorityClassName="important"))
        violates = "violates PodDisruptionBudget default/guard"
        assert violates in await home.told("second", "FailedScheduling")
        await play.eventually(lambda: home.runs("second", MACHINE))
        (victim,) = set(guarded) - home.pods().keys()
        assert violates in await home.told(victim, "Preempted")


async def test_stock_that_is_gone_when_the_instance_is_to_start(tmp_path: Path) -> None:
    """The executor is away between the decision and the binding; meanwhile others buy what was left."""
    async with playing(tmp_path, fleet("one")) as play:
        home = Inside(play, "one")
        cloud = play.stage.brim.members["one"]
        await play.stage.brim.stop("executor")
        on_eci: JsonObject = {ECI: "true"}
        await home.create(
            pod("either", labels=on_eci, annotations={USE_SPECS: "1-2Gi,1-4Gi"}),
            pod("waits", labels=on_eci, annotations={USE_SPECS: "1-2Gi"}),
            pod(
                "fails",
                labels=on_eci,
                annotations={USE_SPECS: "1-2Gi", "k8s.aliyun.com/pod-fail-on-create-err": "true"},
            ),
        )
        await play.waits("BINDING", "brim.binding.one.>", 3)
        cloud.set_eci_stock(ZONE, "1-2Gi", 0)
        play.stage.brim.start("executor")
        await play.eventually(lambda: home.runs("either", VIRTUAL))
        assert home.annotation("either", SPEC) == "1-4Gi"
        assert "1-2Gi is sold out" in await home.told("waits", "ProviderCreateFailed")
        await play.eventually(lambda: text(home.pods()["fails"], "status", "phase") == "Failed")

        await home.create(pod("later", labels=on_eci, annotations={USE_SPECS: "1-2Gi"}))
        assert "1-2Gi is out of stock" in await home.told("later", "FailedScheduling")
        assert home.nodes("later") == [""], "what is known to be sold out is not tried"
        cloud.set_eci_stock(ZONE, "1-2Gi", 2)
        await play.eventually(lambda: home.runs("waits", VIRTUAL) and home.runs("later", VIRTUAL))


async def test_pods_whose_virtual_node_sold_out_move_to_one_that_did_not(tmp_path: Path) -> None:
    async with playing(tmp_path, fleet("one", zones=(ZONE, OTHER_ZONE))) as play:
        home = Inside(play, "one")
        await play.stage.brim.stop("executor")
        await home.create(deployment("web", 2, labels={ECI: "true"}, annotations={USE_SPECS: "1-2Gi"}))
        await play.waits("BINDING", "brim.binding.one.>", 2)
        play.stage.brim.members["one"].set_eci_stock(ZONE, "1-2Gi", 0)
        play.stage.brim.start("executor")
        assert f"node {OTHER_VIRTUAL} has room" in await home.told("", "NoInstance")
        await play.eventually(lambda: [home.runs(name, OTHER_VIRTUAL) for name in home.pods()] == [True] * 2)


async def test_replicas_whose_member_sold_out_move_to_the_next_one(tmp_path: Path) -> None:
    async with playing(tmp_path, fleet("one", "two")) as play:
        await play.stage.brim.stop("executor")
        web = deployment("web", 2, labels={ECI: "true"}, annotations={USE_SPECS: "1-2Gi"})
        cloud = play.stage.brim.members["one"]
        await play.submit(tiers("apps/v1", "Deployment", "one", "two"), web)
        ref = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="default", name="web")
        await play.decided(ref, lambda placement: any(share.virtual == 2 for share in placement.shares))
        cloud.set_eci_stock(ZONE, "1-2Gi", 0)
        play.stage.brim.start("executor")
        await play.eventually(lambda: play.ready("default", "web", "two") == 2)
        await play.settles(lambda: play.ready("default", "web") == 2, fleet_seconds=120.0)
        assert not play.held("default", "web", "one")


async def test_what_is_sold_out_in_a_member_is_no_room_for_the_fleet(tmp_path: Path) -> None:
    """Known before anything is tried there: no replica gets stuck first."""
    async with playing(tmp_path, fleet("one", "two")) as play:
        one = play.stage.brim.members["one"]
        web = deployment("web", 0, labels={ECI: "true"}, annotations={USE_SPECS: "1-2Gi"})
        ref = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="default", name="web")
        await play.submit(tiers("apps/v1", "Deployment", "one", "two"), web)
        await play.has_room(ref, {"one": (2, 0)})

        one.set_eci_stock(ZONE, "1-2Gi", 0)
        await play.has_room(ref, {"two": (2, 0)})
        await play.scale(ref, 2)
        placement = await play.decided(ref, lambda placement: placement.wanted == 2)
        assert {share.member: share.virtual for share in placement.shares} == {"two": 2}
        await play.eventually(lambda: play.ready("default", "web", "two") == 2)

        one.set_eci_stock(ZONE, "1-2Gi", 1)
        await play.has_room(ref, {"one": (1, 0), "two": (3, 0)})
        await play.scale(ref, 4)
        await play.eventually(lambda: play.ready("default", "web") == 4)
        assert [play.ready("default", "web", member) for member in ("one", "two")] == [1, 3]


async def test_a_job_gives_up_any_pods_and_explain_says_so(tmp_path: Path) -> None:
    async with playing(tmp_path, fleet("one", cpu=1)) as play:
        home = Inside(play, "one")
        once = pod("once", annotations={"simulator.brim.dev/run-seconds": "900"}, restartPolicy="Never")
        template = {key: value for key, value in once.items() if key in ("metadata", "spec")}
        job: JsonObject = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "once", "namespace": "default"},
            "spec": {"parallelism": 2, "completions": 2, "template": template},
        }
        units = policy("units", {"app": "once"}, {"resource": "idc"}, {"resource": "eci"})
        await play.submit(units, tiers("batch/v1", "Job", "one"), job)
        await play.eventually(lambda: sorted(home.nodes(*home.pods())) == [MACHINE, VIRTUAL])
        assert [home.annotation(name, COST) for name in home.pods()] == ["", ""], "its controller looks at no cost"
        page = await until(CommandLine.of(play), "explain", "job/once", shows="Units")
        assert "a Job gives up pods without regard to their unit" in page.out


async def test_room_that_is_kept_for_a_void_order_is_found_and_given_back(tmp_path: Path) -> None:
    """Nobody carries orders out. A pod was given the machine, which is cordoned then, and is given an instance now."""
    async with playing(tmp_path, fleet("one", cpu=1), speed=90) as play:
        home = Inside(play, "one")
        await play.submit(
            policy("both", {"for": "both"}, {"resource": "idc"}, {"resource": "eci"}),
            policy("home", {"for": "home"}, {"resource": "idc"}),
        )
        await play.stage.brim.stop("executor")
        await home.create(pod("first", labels={"for": "both"}))
        await ordered(play, "first", MACHINE)
        machine = ObjectRef(version="v1", kind="Node", name=MACHINE)
        await home.patch(machine, {"spec": {"unschedulable": True}})
        await ordered(play, "first", VIRTUAL)
        await home.patch(machine, {"spec": {"unschedulable": None}})
        await home.create(pod("second", labels={"for": "home"}))
        second = (await ordered(play, "second", MACHINE))[0]
        late = (await ordered(play, "first", MACHINE))[-1]
        assert second.at >= late.at + 600, "until then the first pod might have come to the machine after all"
        await play.eventually(lambda: leaks(play, "reservation") == 1)

        play.stage.brim.start("executor")
        await play.eventually(lambda: home.runs("first", VIRTUAL) and home.runs("second", MACHINE))


async def ordered(play: Play, name: str, node: str) -> list[Bind]:
    """Wait until there are orders to bind a pod to a node; all of them, the oldest first."""
    with anyio.move_on_after(WAIT):
        while True:
            orders = [
                decode_binding(message.data) for message in await play.bus.waiting("BINDING", "brim.binding.one.>")
            ]
            found = [one for one in orders if isinstance(one, Bind) and (one.name, one.node) == (name, node)]
            if found:
                return sorted(found, key=lambda bind: bind.at)
            await anyio.sleep(0.05)
    pytest.fail(f"{name} was never given {node}: {orders}")


def leaks(play: Play, kind: str) -> float:
    """How many the scheduler has counted."""
    pages = [metrics.render().decode() for metrics in play.stage.brim.services["scheduler"].health._metrics]
    lines = [line for page in pages for line in page.splitlines()]
    return sum(
        float(line.split()[-1]) for line in lines if line.startswith(f'brim_scheduler_leaks_total{{kind="{kind}"')
    )
