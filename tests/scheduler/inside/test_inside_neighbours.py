"""Which node takes a pod, seen from the pods that are there: affinity, anti-affinity, topology spread."""

from __future__ import annotations

from typing import Any

import pytest

from shared.contracts.capacity import Taint
from tests.scheduler.inside.inside_world import World

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def term(topology: str = HOST, *, app: str = "web", **more: Any) -> dict[str, Any]:
    return {"topologyKey": topology, "labelSelector": {"matchLabels": {"app": app}}, **more}


def near(*terms: dict[str, Any]) -> dict[str, Any]:
    return {"affinity": {"podAffinity": {REQUIRED: list(terms)}}}


def apart(*terms: dict[str, Any]) -> dict[str, Any]:
    return {"affinity": {"podAntiAffinity": {REQUIRED: list(terms)}}}


def liked(kind: str, weight: int, wanted: dict[str, Any]) -> dict[str, Any]:
    return {"affinity": {kind: {PREFERRED: [{"weight": weight, "podAffinityTerm": wanted}]}}}


def spread(topology: str = ZONE, *, skew: int = 1, hard: bool = True, app: str = "web", **more: Any) -> dict[str, Any]:
    constraint = {
        "topologyKey": topology,
        "maxSkew": skew,
        "whenUnsatisfiable": "DoNotSchedule" if hard else "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app": app}},
        **more,
    }
    return {"topologySpreadConstraints": [constraint]}


def zones(*sizes: int, cpu: float = 8) -> World:
    """Nodes a0, a1, … in zone a, b0, … in zone b, and so on."""
    world = World()
    for zone, size in zip("abcdef", sizes, strict=False):
        for number in range(size):
            world.node(f"{zone}{number}", cpu, labels={ZONE: zone})
    return world


def place(world: World, name: str, spec: dict[str, Any] | None = None, *, app: str = "web", **more: Any) -> str:
    world.pod(name, labels={"app": app, **more.pop("labels", {})}, spec=spec or {}, **more)
    world.run()
    return world.pods[name].node


# -- affinity ------------------------------------------------------------------------------------------------


def test_affinity_goes_where_the_others_are() -> None:
    world = zones(1, 2, cpu=2)
    assert place(world, "db", app="db", cpu=1) == "a0"
    assert place(world, "web", near(term(app="db")), cpu=0.5) == "a0"
    assert place(world, "more", near(term(app="db")), cpu=1) == ""
    assert world.reason("more")[0] == "PodAffinity"
    assert place(world, "zonal", near(term(ZONE, app="db")), cpu=0.5) == "a0"


def test_affinity_to_nobody_waits_and_is_woken_when_somebody_comes() -> None:
    world = zones(1, 1)
    assert place(world, "web", near(term(app="db"))) == ""
    world.pass_(1)
    assert place(world, "db", app="db")
    world.pass_(10)
    world.run()
    assert world.bound["web"] == world.bound["db"]


def test_the_first_of_a_group_that_wants_to_be_together_may_go_anywhere_the_topology_exists() -> None:
    world = zones(1)
    world.node("zoneless", cpu=64)
    assert place(world, "first", near(term(ZONE))) == "a0"
    assert place(world, "second", near(term(ZONE))) == "a0"


def test_all_terms_of_affinity_hold_together() -> None:
    world = zones(1, 1)
    place(world, "db", app="db", spec={"nodeSelector": {ZONE: "a"}})
    place(world, "cache", app="cache", spec={"nodeSelector": {ZONE: "b"}})
    assert place(world, "web", near(term(app="db"), term(app="cache"))) == ""


# -- anti-affinity -------------------------------------------------------------------------------------------


def test_anti_affinity_keeps_pods_apart() -> None:
    world = zones(1, 2)
    assert {place(world, f"p{number}", apart(term())) for number in range(3)} == {"a0", "b0", "b1"}
    assert place(world, "fourth", apart(term())) == ""
    assert world.reason("fourth") == ("PodAntiAffinity", "3 nodes: beside pods that anti-affinity keeps apart")
    world.delete("p1")
    world.pass_(1)
    world.run()
    assert world.bound["fourth"]


def test_anti_affinity_holds_both_ways() -> None:
    world = zones(1, 1)
    assert place(world, "loner", apart(term(app="loud")), app="quiet") == "a0"
    assert place(world, "loud", app="loud") == "b0"
    assert place(world, "louder", app="loud", cpu=8) == "", "a0 is kept free of it, b0 is not empty enough"


def test_anti_affinity_over_a_zone() -> None:
    world = zones(2, 2)
    assert place(world, "first", apart(term(ZONE))) == "a0"
    assert place(world, "second", apart(term(ZONE))) == "b0"
    assert place(world, "third", apart(term(ZONE))) == ""


def test_a_node_outside_of_the_topology_keeps_nobody_apart() -> None:
    world = World()
    world.node("zoneless")
    assert place(world, "first", apart(term(ZONE))) == "zoneless"
    assert place(world, "second", apart(term(ZONE))) == "zoneless"


# -- which pods are meant ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "means"),
    [
        ({}, False),
        ({"namespaces": ["other"]}, True),
        ({"namespaceSelector": {}}, True),
        ({"namespaceSelector": {"matchLabels": {"team": "blue"}}}, True),
        ({"namespaceSelector": {"matchLabels": {"team": "red"}}}, False),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}, True),
        ({"namespaces": ["third"], "namespaceSelector": {"matchLabels": {"team": "blue"}}}, True),
        ({"labelSelector": {}, "namespaces": ["other"]}, True),
        ({"labelSelector": None, "namespaces": ["other"]}, False),
    ],
)
def test_namespaces(wanted: dict[str, Any], *, means: bool) -> None:
    world = zones(1)
    world.namespaces = {"other": {"team": "blue"}}
    assert place(world, "there", namespace="other") == "a0"
    assert (place(world, "here", apart(term(**wanted)), app="else") == "") == means


def test_a_namespace_that_gets_a_label_is_meant_from_then_on() -> None:
    world = zones(1)
    selector = {"namespaceSelector": {"matchLabels": {"team": "blue"}}}
    place(world, "there", namespace="other")
    assert place(world, "first", apart(term(**selector)), app="else") == "a0"
    world.namespaces = {"other": {"team": "blue"}}
    world.tell_capacity()
    assert place(world, "second", apart(term(**selector)), app="else") == ""


def test_match_label_keys_narrow_to_the_own_revision() -> None:
    world = zones(1, 1)
    keys = {"matchLabelKeys": ["pod-template-hash"]}
    old, new = {"pod-template-hash": "1"}, {"pod-template-hash": "2"}
    assert place(world, "old", apart(term(**keys)), labels=old) == "a0"
    assert place(world, "new", apart(term(**keys)), labels=new) == "b0", "emptier; allowed on both"
    assert place(world, "newer", apart(term(**keys)), labels=new) == "a0"
    assert place(world, "newest", apart(term(**keys)), labels=new) == ""


def test_mismatch_label_keys_mean_the_others() -> None:
    world = zones(1, 1)
    keys = {"mismatchLabelKeys": ["tenant"]}
    assert place(world, "blue", apart(term(**keys)), labels={"tenant": "blue"}) == "a0"
    assert place(world, "red", apart(term(**keys)), labels={"tenant": "red"}) == "b0"
    assert place(world, "green", apart(term(**keys)), labels={"tenant": "green"}) == ""


# -- preferences ---------------------------------------------------------------------------------------------


def test_preferred_affinity_and_anti_affinity() -> None:
    world = zones(1, 1)
    assert place(world, "db", app="db") == "a0"
    assert place(world, "close", liked("podAffinity", 10, term(app="db"))) == "a0"
    assert place(world, "far", liked("podAntiAffinity", 10, term(app="db"))) == "b0"


def test_pods_that_are_there_have_preferences_too() -> None:
    world = zones(1, 1)
    place(world, "grump", liked("podAntiAffinity", 10, term(app="web")), app="grump")
    place(world, "filler", app="x", cpu=4)
    assert world.bound == {"grump": "a0", "filler": "b0"}
    assert place(world, "web") == "b0", "fuller, but the grump is not there"


# -- spread --------------------------------------------------------------------------------------------------


def test_hard_spread_never_exceeds_the_skew() -> None:
    world = zones(3, 1, cpu=2)
    found = [place(world, f"p{number}", spread()) for number in range(5)]
    assert [node[:1] for node in found[:4]] == ["a", "b", "a", "b"]
    assert found[4], "two and two: either may have a third"
    assert place(world, "sixth", spread(), cpu=2) == ""
    assert world.reason("sixth")[0] in ("TopologySpread", "InsufficientResources")


def test_spread_is_woken_when_the_others_catch_up() -> None:
    world = zones(1, 1)
    place(world, "a", spec={"nodeSelector": {ZONE: "a"}})
    assert place(world, "b", {**spread(), "nodeSelector": {ZONE: "a"}}) == "a0", "zone b is no domain for it"
    assert place(world, "c", {**spread(nodeAffinityPolicy="Ignore"), "nodeSelector": {ZONE: "a"}}) == ""
    assert "1 where its topology spread would be broken" in world.reason("c")[1]
    for name in ("x", "y"):
        place(world, name, spec={"nodeSelector": {ZONE: "b"}})
    world.pass_(10)
    world.run()
    assert world.bound["c"] == "a0"


def test_tainted_nodes_are_domains_unless_taints_are_honoured() -> None:
    world = zones(1)
    world.node("b0", labels={ZONE: "b"}, taints=(Taint(key="x", effect="NoSchedule"),))
    assert place(world, "first", spread()) == "a0"
    assert place(world, "second", spread()) == "", "zone b counts, and is empty"
    assert place(world, "third", spread(nodeTaintsPolicy="Honor")) == "a0"


def test_too_few_domains_count_as_an_empty_one() -> None:
    world = zones(1)
    assert place(world, "first", spread(minDomains=2)) == "a0"
    assert place(world, "second", spread(minDomains=2)) == ""
    world.node("b0", labels={ZONE: "b"})
    world.tell_capacity()
    world.pass_(10)
    world.run()
    assert world.bound["second"] == "b0"


def test_pods_on_their_way_out_do_not_count() -> None:
    world = zones(1, 1)
    place(world, "first", spec={"nodeSelector": {ZONE: "a"}})
    world.change("first", terminating=True)
    assert place(world, "second", spread(), cpu=0.1) == "b0", "emptier"
    assert place(world, "third", spread(), cpu=0.1) == "a0"


def test_match_label_keys_of_spread() -> None:
    world = zones(1, 1)
    keys = {"matchLabelKeys": ["pod-template-hash"]}
    for number in range(2):
        place(world, f"old{number}", spec={"nodeSelector": {ZONE: "a"}}, labels={"pod-template-hash": "1"})
    assert place(world, "new", spread(**keys), labels={"pod-template-hash": "2"}) == "b0"
    assert place(world, "newer", spread(**keys), labels={"pod-template-hash": "2"}) == "a0"


def test_soft_spread_prefers_the_emptier_domain_and_binds_anyway() -> None:
    world = zones(3, 1)
    found = [place(world, f"p{number}", spread(hard=False)) for number in range(4)]
    assert sorted(node[:1] for node in found) == ["a", "a", "b", "b"]
    full = zones(1)
    assert place(full, "first", spread(hard=False)) == place(full, "second", spread(hard=False)) == "a0"


def test_a_node_outside_of_the_topology_takes_no_pod_that_is_to_be_spread() -> None:
    world = World()
    world.node("zoneless")
    assert place(world, "p", spread()) == ""
