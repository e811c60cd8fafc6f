"""deploy/rbac grants what inventory and the executor ask of a member, and nothing that they never ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.demo import versions
from cli.demo.observer import ROLLOUTS
from cli.json_values import object_of, text
from services.executor.core import admission
from services.inventory.kinds import ALWAYS
from shared import fleet as fleet_file
from shared import workloads
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.read import Read
from shared.contracts.submit import Delete
from shared.fleet import Stock
from tests.deploy.rights import FOLDER, SERVICES, Guard, Right, documents, granted, roles, rules
from tests.e2e.harness import Play, example_fleet, playing, reference, web
from tests.e2e.inside import COST, ECI, VIRTUAL, Inside, fleet, pod, policy
from tests.e2e.test_burst import propagation, workload

BASE = ("inventory.yaml", "executor.yaml")
OBJECTS = (*BASE, "executor-secrets.yaml", "operators.yaml")
EVERY = (*OBJECTS, "executor-admission.yaml")
READING, WRITING = ("get", "list", "watch"), ("get", "create", "patch", "delete")


def verbs_by_kind(service: str, *files: str) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for right in granted(service, *files):
        found.setdefault((right.group, right.resource), set()).add(right.verb)
    return found


@pytest.mark.parametrize(("service", "verbs"), [("inventory", READING), ("executor", WRITING)])
def test_every_kind_with_replicas_that_brim_knows_is_granted(service: str, verbs: tuple[str, ...]) -> None:
    found = verbs_by_kind(service, *EVERY)
    for kind in workloads.kinds():
        assert found.get((kind.group, kind.plural), set()) >= set(verbs), kind


def test_what_inventory_watches_in_any_case_needs_no_operator() -> None:
    found = verbs_by_kind("inventory", *BASE)
    plurals = {(kind.group, kind.kind): kind.plural for kind in workloads.kinds()}
    assert all(found[kind.group, plurals[kind.group, kind.kind]] >= set(READING) for kind in ALWAYS)


def test_both_know_the_same_kinds_of_objects() -> None:
    """What one writes the other must be able to tell of; but for Secrets, which nobody reads out."""
    written = {kind for kind, verbs in verbs_by_kind("executor", *OBJECTS).items() if {"create", "patch"} <= verbs}
    read = {kind for kind, verbs in verbs_by_kind("inventory", *OBJECTS).items() if set(READING) <= verbs}
    assert written - read == {("", "secrets")}
    assert read - written == {("", "nodes")}


def test_inventory_only_reads_and_the_executor_lists_nothing() -> None:
    assert {right.verb for right in granted("inventory", *EVERY)} == set(READING)
    assert {right.verb for right in granted("executor", *EVERY)} == set(WRITING)
    assert ("", "secrets") not in verbs_by_kind("inventory", *EVERY)
    assert ("", "secrets") not in verbs_by_kind("executor", *BASE)


def test_namespaces_are_never_removed() -> None:
    assert "delete" not in verbs_by_kind("executor", *EVERY)["", "namespaces"]


def test_of_admission_policies_only_brims_own_may_be_touched() -> None:
    (role,) = documents("executor-admission.yaml")
    assert [rule["resourceNames"] for rule in role["rules"]] == [[admission.NAME]]
    assert {(right.group, right.verb) for right in rules(role)} == {(admission.GROUP, verb) for verb in WRITING}


def test_every_file_is_bound_to_somebody() -> None:
    bound = {role["metadata"]["name"] for service in SERVICES for role in roles(service, *EVERY)}
    every = {one["metadata"]["name"] for one in documents(*EVERY) if one["kind"].endswith("Role")}
    assert every == bound
    assert {path.name for path in FOLDER.iterdir()} == set(EVERY)


# -- what is really asked for ------------------------------------------------------------------------------------


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> type[Guard]:
    """Simulated members that grant just what the base files do."""
    monkeypatch.setattr("simulator.server.Faults", Guard)
    Guard.begin(*BASE)
    return Guard


NEVER_PLAYED = {
    "inventory": {
        Right("karpenter.sh", "nodepools", "watch"),  # simulated members serve none: listing them is as far as it gets
    },
    "executor": {
        Right("", "events", "get"),  # only where an approval is delivered twice
    },
}
ANY_KIND = ("brim-inventory-objects", "brim-executor-objects")  # the same verbs for every kind


async def test_under_these_rights_everything_works_and_all_of_them_are_used(tmp_path: Path, guarded) -> None:
    await _pods_and_objects(tmp_path / "pods")
    await _rollouts(tmp_path / "rollouts")
    assert guarded.refused == []
    for service, verbs in (("inventory", READING), ("executor", WRITING)):
        named = [role for role in roles(service, *BASE) if role["metadata"]["name"] not in ANY_KIND]
        fixed = {right for role in named for right in rules(role)}
        assert fixed - guarded.used[service] - NEVER_PLAYED[service] == set()
        assert {right.verb for right in guarded.used[service] - fixed} == set(verbs)


async def _pods_and_objects(folder: Path) -> None:
    """One member with every source of room, and another whose stock is Karpenter's."""
    one, two = fleet("one", "two").members
    karpenter = two.model_copy(update={"stock": Stock(source="karpenter")})
    async with playing(folder, fleet_file.Fleet(members=(one, karpenter)), speed=90) as play:
        home, cloud = Inside(play, "one"), play.stage.brim.members["one"]
        await _objects(play)
        await _reads(play)
        await _costs(play, home)
        await home.create(pod("waits", cpu="64"))
        await home.told("waits", "FailedScheduling")
        leaks = {"simulator.brim.dev/outlives-pod": "true"}
        await home.create(pod("short", labels={ECI: "true"}, annotations=leaks), pod("stays", labels={ECI: "true"}))
        await play.eventually(lambda: home.runs("short", VIRTUAL) and home.runs("stays", VIRTUAL))
        await home.delete("short")
        await play.eventually(lambda: len(play.observer.instances("default")) == 1)  # what nobody owns is given back
        cloud.lose_node(VIRTUAL)
        await play.eventually(lambda: "stays" not in home.pods())


async def _objects(play: Play) -> None:
    deployment, policy = web("web", replicas=2, members=("one", "two"))
    new = {**deployment, "metadata": {"name": "web", "namespace": "new"}}
    await play.submit(new, {**policy, "metadata": {"name": "web", "namespace": "new"}})
    await play.eventually(lambda: play.ready("new", "web") == 2)
    ref = reference("web").model_copy(update={"namespace": "new"})
    await play.scale(ref, 4)
    await play.eventually(lambda: play.ready("new", "web") == 4)
    seen = {"verb": "object", "group": "apps", "resource": "deployments", "namespace": "new", "name": "web"}
    await play.bus.request(subjects.read("one"), Read.model_validate(seen).encode())
    await play.publish(subjects.submit("delete"), Delete(refs=(ref,)).encode())
    await play.eventually(lambda: not play.asked(ref))


async def _costs(play: Play, home: Inside) -> None:
    """Who goes first stands on the pods, and changes with the policy."""
    first, then = {"resource": "idc"}, {"resource": "eci"}
    await play.submit(policy("units", {"app": "web"}, first, then), workload(replicas=1), propagation("one"))
    await play.eventually(lambda: play.ready("default", "web", "one") == 1)
    (name,) = (text(entry.manifest, "metadata", "name") for entry in play.observer.pods("default", "web", "one"))
    before = home.annotation(name, COST)
    await play.submit(policy("units", {"app": "web"}, then, first))
    await play.eventually(lambda: home.annotation(name, COST) not in (before, ""))


async def _reads(play: Play) -> None:
    """As `brim get`, `describe` and the console ask for them."""
    wanted: tuple[JsonObject, ...] = (
        {"verb": "list", "group": "apps", "resource": "deployments"},
        {"verb": "object", "group": "", "resource": "nodes", "name": "machine"},
        {"verb": "object", "group": "", "resource": "namespaces", "name": "default"},
        {"verb": "events", "resource": "events"},
    )
    for question in wanted:
        await play.bus.request(subjects.read("one"), Read.model_validate(question).encode())
    await play.stage.create("one", pod("loud", scheduler="default-scheduler"))
    await play.eventually(lambda: play.ready("default", "loud") == 1)
    for verb in ("logs", "object"):
        question = {"verb": verb, "resource": "pods", "namespace": "default", "name": "loud"}
        await play.bus.request(subjects.read("one"), Read.model_validate(question).encode())


async def _rollouts(folder: Path) -> None:
    file, app = "qwen-rollout.yaml", "qwen-inference"
    async with playing(folder, example_fleet("rollout-fleet.yaml")) as play:

        def rollouts() -> list[JsonObject]:
            return [object_of(entry.manifest, "status") for entry in play.observer.objects(ROLLOUTS, "demo")]

        def phases() -> set[str]:
            return {text(one, "phase") for one in rollouts()}

        def steps() -> set[tuple[str, str]]:
            found = [object_of(one, "canaryStatus") for one in rollouts()]
            return {(text(one, "currentStepIndex"), text(one, "currentStepState")) for one in found}

        await play.apply(file)
        await play.eventually(lambda: play.ready("demo", app) == 20 and phases() == {"Healthy"})
        await play.submit(versions.version(file, "qwen:v2"))
        await play.eventually(lambda: steps() == {("1", "StepPaused")})
        ref = reference("qwen-inference-rollout").model_copy(
            update={"group": "rollouts.kruise.io", "version": "v1beta1", "kind": "Rollout", "namespace": "demo"}
        )
        await play.stage.approve(ref)
        await play.eventually(lambda: steps() == {("2", "StepPaused")})
