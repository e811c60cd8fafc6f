"""Which pods are told: the rule, and that keeping it up change by change comes to the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inventory.core.selectors import Requirement
from services.inventory.core.sight import NOWHERE, PodSight, Reach, Sight

NAMESPACES = {
    "shop": {"team": "web"},
    "db": {"team": "data"},
    "logs": {},
}
DATA = (Requirement("team", frozenset({"data"})),)


def selects(namespace: str, labels: object) -> bool:
    """One ResourcePolicy, in shop, for app=web."""
    return namespace == "shop" and isinstance(labels, dict) and labels.get("app") == "web"


def sight(*ours: PodSight) -> Sight:
    found = Sight(lambda name: NAMESPACES.get(name, {}), selects)
    for number, pod in enumerate(ours):
        found.put((pod.namespace, f"ours-{number}"), pod)
    return found


OURS = PodSight("shop", ours=True)
OTHER = PodSight("logs", node="n")


@pytest.mark.parametrize(
    ("pod", "ours", "told"),
    [
        pytest.param(OURS, [], True, id="ours"),
        pytest.param(replace(OURS, finished=True), [], True, id="ours, finished"),
        pytest.param(OTHER, [], False, id="of others"),
        pytest.param(PodSight("shop", {"app": "web"}), [], True, id="another scheduler's, and a policy selects it"),
        pytest.param(PodSight("shop", {"app": "db"}), [], False, id="another scheduler's"),
        pytest.param(PodSight("shop", {"app": "web"}, terminating=True), [], False, id="selected, but going"),
        pytest.param(PodSight("shop", {"app": "web"}, node="n"), [], False, id="selected, but bound"),
        pytest.param(replace(OTHER, on_virtual=True), [], True, id="on a virtual node"),
        pytest.param(replace(OTHER, on_virtual=True, finished=True), [], False, id="finished on a virtual node"),
        pytest.param(
            replace(OTHER, on_virtual=True, finished=True, instance=True), [], True, id="finished, its instance is not"
        ),
        pytest.param(replace(OTHER, namespace="shop"), [OURS], True, id="in a namespace where ours live"),
        pytest.param(replace(OTHER, namespace="shop", finished=True), [OURS], False, id="in there, finished"),
        pytest.param(replace(OTHER, namespace="shop", node=""), [OURS], False, id="in there, without a node"),
        pytest.param(
            replace(OTHER, namespace="shop"), [replace(OURS, finished=True)], False, id="only finished ones of ours"
        ),
        pytest.param(
            replace(OTHER, namespace="db"),
            [replace(OURS, reach=Reach(frozenset({"db"})))],
            True,
            id="in a namespace that ours look at by name",
        ),
        pytest.param(
            replace(OTHER, namespace="db"),
            [replace(OURS, reach=Reach(selectors=frozenset({DATA})))],
            True,
            id="in a namespace that ours look at by label",
        ),
        pytest.param(OTHER, [replace(OURS, reach=Reach(selectors=frozenset({DATA})))], False, id="the label of none"),
        pytest.param(OTHER, [replace(OURS, reach=Reach(selectors=frozenset({()})))], True, id="every namespace"),
        pytest.param(replace(OTHER, ports=frozenset({80, 81})), [OURS], False, id="a host port that nobody wants"),
        pytest.param(
            replace(OTHER, ports=frozenset({80, 81})),
            [replace(OURS, ports=frozenset({81}))],
            True,
            id="a host port that ours ask for",
        ),
        pytest.param(
            replace(OTHER, reach=Reach(frozenset({"shop"}))), [OURS], True, id="keeps ours away across namespaces"
        ),
        pytest.param(
            replace(OTHER, reach=Reach(selectors=frozenset({DATA}))), [OURS], False, id="keeps away from others only"
        ),
        pytest.param(
            replace(OTHER, reach=Reach(frozenset({"shop"}))), [], False, id="keeps away where none of ours is"
        ),
    ],
)
def test_the_rule(pod: PodSight, ours: list[PodSight], told: bool) -> None:
    assert sight(*ours).tells(pod) is told


def test_what_is_looked_at_widens_at_once_and_narrows_when_it_settles() -> None:
    found = sight()
    asking = replace(OURS, ports=frozenset({80}), reach=Reach(frozenset({"db"}), frozenset({DATA})))
    widened = found.put(("shop", "a"), asking)
    assert widened.namespaces == {"shop", "db"}
    assert widened.selectors == {DATA}
    assert widened.afar
    assert not found.put(("shop", "b"), asking), "nothing that was not looked at already"
    found.put(("shop", "a"), None)
    found.put(("shop", "b"), replace(asking, finished=True))
    assert found.looks_at("shop")
    assert not found.put(("shop", "c"), OURS), "it comes and goes: nothing is told over again"
    found.settle()
    assert found.looks_at("shop")
    assert not found.looks_at("db")
    found.put(("shop", "c"), None)
    found.settle()
    assert not found.looks_at("shop")


reaches = st.builds(
    Reach,
    st.frozensets(st.sampled_from(["shop", "db", "logs"]), max_size=2),
    st.frozensets(st.sampled_from([DATA, ()]), max_size=1),
) | st.just(NOWHERE)
pods = st.builds(
    PodSight,
    namespace=st.sampled_from(["shop", "db", "logs"]),
    labels=st.sampled_from([{}, {"app": "web"}]),
    ours=st.booleans(),
    node=st.sampled_from(["", "n"]),
    finished=st.booleans(),
    terminating=st.booleans(),
    on_virtual=st.booleans(),
    instance=st.booleans(),
    reach=reaches,
    ports=st.frozensets(st.sampled_from([80, 81]), max_size=2),
)


@given(st.lists(st.tuples(st.integers(0, 4), pods | st.none()), max_size=30), pods)
def test_change_by_change_comes_to_the_same_as_all_at_once(
    changes: list[tuple[int, PodSight | None]], judged: PodSight
) -> None:
    """Before it settles it may tell more, never less."""
    grown = sight()
    state: dict[int, PodSight] = {}
    for number, pod in changes:
        grown.put(("", f"p-{number}"), pod)
        state = {**state, number: pod} if pod is not None else {k: v for k, v in state.items() if k != number}
    fresh = sight(*state.values())
    assert grown.tells(judged) >= fresh.tells(judged)
    grown.settle()
    assert grown.tells(judged) is fresh.tells(judged)
