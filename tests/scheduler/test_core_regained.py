"""A placement that was lost: what members hold stands in for it."""

from __future__ import annotations

import pytest

from services.scheduler.core.regained import held_uid, regained
from shared.contracts.refs import ObjectRef, Order
from shared.contracts.status import Status
from tests.scheduler.core_world import World, deployment, node, policy


def held(
    replicas: int, *, member: str = "idc", name: str = "web", uid: str = "", order: Order | None = None, kind: str = ""
) -> Status:
    group = {"Job": "batch"}.get(kind, "apps")
    return Status(
        member=member,
        ref=ObjectRef(group=group, version="v1", kind=kind or "Deployment", namespace="test", name=name),
        uid=uid or f"uid-{name}",
        order=order or Order(epoch=1, counter=7),
        observed_at=1.0,
        replicas=replicas,
        ready=replicas,
        bound=replicas,
    )


def full_world() -> World:
    """One member that is full of the workload's own replicas, and one that is empty."""
    world = World()
    world.member("idc", node("a", 0), node("b", 0))
    world.member("ack", node("c", 4))
    world.state.on_status(held(2))
    return world


def test_it_stays_where_it_runs_though_no_room_is_left_beside_it() -> None:
    world = full_world()
    world.want(policy("idc", "ack"), deployment("web", 2))
    (made,) = world.run()
    assert world.placed(deployment("web", 2)) == {"idc": 2}
    assert (made.pending, made.generation) == (0, deployment("web", 2).generation)


def test_more_go_where_room_is() -> None:
    world = full_world()
    world.want(policy("idc", "ack"), deployment("web", 3))
    world.run()
    assert world.placed(deployment("web", 3)) == {"idc": 2, "ack": 1}


def test_of_another_uid_it_is_somebody_elses() -> None:
    world = full_world()
    world.want(policy("idc", "ack"), deployment("web", 2, uid="another"))
    world.run()
    assert world.placed(deployment("web", 2)) == {"ack": 2}


def test_its_order_goes_on_from_what_was_applied() -> None:
    """What is older than the mark on the object would be dropped for ever."""
    found = regained(deployment("web", 2), {"idc": held(2), "ack": held(1, order=Order(epoch=1, counter=9))})
    assert found is not None
    assert found.order == Order(epoch=1, counter=9)
    assert [(share.member, share.replicas, share.free) for share in found.shares] == [("ack", 1, 1), ("idc", 2, 2)]


def test_of_a_job_nothing_is_told_that_could_stand_in() -> None:
    job = deployment("web", 2, kind="Job", is_job=True)
    assert regained(job, {"idc": held(2, kind="Job")}) is None
    assert regained(deployment("web", 2), {}) is None


@pytest.mark.parametrize(
    ("statuses", "uid"),
    [
        pytest.param([], "", id="nobody holds it"),
        pytest.param([held(2, uid="a")], "a", id="from before"),
        pytest.param([held(1, uid="a"), held(3, uid="b", member="ack")], "b", id="the one with the most replicas"),
        pytest.param([held(2, uid="a", order=Order(epoch=5, counter=1))], "", id="on its way out, as was asked for"),
    ],
)
def test_the_uid_that_members_know_it_by(statuses: list[Status], uid: str) -> None:
    assert held_uid(statuses, epoch=5) == uid
