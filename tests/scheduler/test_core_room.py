"""Room: exact at any time, whatever was told in whatever order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.scheduler.core import capacity
from services.scheduler.core.constraints import Expression, Term, Toleration
from services.scheduler.core.room import FleetRoom
from services.scheduler.core.values import Component, Gap, Room, Shape
from shared.contracts.capacity import Delta, Heartbeat, NodeClass, Taint
from tests.scheduler import core_world as world
from tests.scheduler.core_world import node, pool, snapshot

CPU = Shape.of({"cpu": 1000})
GPU = Shape.of({"cpu": 1000, "nvidia.com/gpu": 2})
ZONE_A = Term((Expression("zone", "In", ("a",)),))
SHAPES = {
    "plain": CPU,
    "large": Shape.of({"cpu": 3000, "memory": 5}),
    "gpu": GPU,
    "selective": Shape.of({"cpu": 1000}, {"disk": "ssd"}),
    "by affinity": Shape.of({"cpu": 2000}, affinity=(ZONE_A,)),
    "tolerant": Shape.of({"cpu": 1000}, tolerations=(Toleration("dedicated", "Exists"),)),
    "for one node": Shape.of({"cpu": 1000}, {"kubernetes.io/hostname": "n1"}),
}
CLASSES = {
    0: NodeClass(),
    1: NodeClass(labels={"disk": "ssd", "zone": "a"}),
    2: NodeClass(labels={"zone": "a"}, taints=(Taint(key="dedicated", value="db", effect="NoSchedule"),)),
    3: NodeClass(unschedulable=True),
}
TAKES = {  # which classes take which shape, by hand
    "plain": {0, 1},
    "large": {0, 1},
    "gpu": {0, 1},
    "selective": {1},
    "by affinity": {1},
    "tolerant": {0, 1, 2},
    "for one node": {0, 1},
}
Nodes = dict[str, world.Node]


def by_hand(name: str, nodes: Nodes, phase: str) -> int:
    """Σ over matching nodes of the smallest ⌊free ÷ requested⌋."""
    total = 0
    for host, (_, free, its_phase, klass) in nodes.items():
        if its_phase != phase or klass not in TAKES[name] or (name == "for one node" and host != "n1"):
            continue
        total += max(0, min(free.get(resource, 0) // amount for resource, amount in SHAPES[name].requests))
    return total


@st.composite
def some_node(draw: st.DrawFn, name: str) -> world.Node:
    more = draw(st.sampled_from([{}, {"memory": 16}, {"memory": 7, "nvidia.com/gpu": 5}]))
    phase = draw(st.sampled_from(["ready", "ready", "upcoming", "unready", "virtual"]))
    cpu, pods = draw(st.integers(-1, 9)), draw(st.sampled_from([0, 2, 110]))
    return node(name, cpu, phase=phase, klass=draw(st.integers(0, 3)), pods=pods, **more)


names = st.sampled_from(["n1", "n2", "n3", "n4", "n5"])
changes = st.lists(st.one_of(names.flatmap(some_node), names), min_size=1, max_size=12)


@settings(max_examples=60)
@given(changes)
def test_room_is_the_sum_over_matching_nodes_after_any_changes(steps: list[world.Node | str]) -> None:
    room, nodes = FleetRoom(), Nodes()
    room.apply(snapshot("m", [], classes=CLASSES))
    for number, step in enumerate(steps, start=1):
        gone = [step] if isinstance(step, str) else []
        new = [] if isinstance(step, str) else [step]
        columns = world.columns(new)
        room.apply(Delta(member="m", epoch=1, number=number, observed_at=0, nodes=columns, removed=gone))
        for name in gone:
            nodes.pop(name, None)
        nodes |= {entry[0]: entry for entry in new}
        for name, shape in SHAPES.items():
            expected = Room(*(by_hand(name, nodes, phase) for phase in ("ready", "upcoming", "virtual")))
            assert room.room(shape, "m") == expected, name


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(list(SHAPES)), st.integers(0, 9)), max_size=12)
)
def test_totals_kept_up_equal_totals_computed_anew(steps: list[tuple[str, str, int]]) -> None:
    room = FleetRoom()
    nodes = [node(f"n{i}", 6, klass=i % 4, memory=9, **{"nvidia.com/gpu": i % 5}) for i in range(6)]
    room.apply(snapshot("m", nodes, classes=CLASSES, pools=[pool("p", 4, 3)]))
    for shape in SHAPES.values():
        room.room(shape, "m")
    for uid, name, count in steps:
        room.place(uid, [("m", (Component("", SHAPES[name], count),))], 0.0)
        kept = {name: room.room(shape, "m") for name, shape in SHAPES.items()}
        room._shapes.known[:] = False
        assert kept == {name: room.room(shape, "m") for name, shape in SHAPES.items()}


uids = st.sampled_from("abc")
events = st.one_of(
    st.tuples(st.just("place"), uids, st.sampled_from(list(SHAPES)), st.integers(0, 9)),
    st.tuples(st.just("bind"), uids, st.integers(0, 5)),
    st.tuples(st.just("node"), names.flatmap(some_node)),
    st.tuples(st.just("gone"), names),
    st.tuples(st.just("pool"), st.integers(0, 4), st.sampled_from([2, 4])),
)


class Told:
    """A member "m" of which nodes, pools and bound pods are told, and where workloads are placed."""

    def __init__(self, room: FleetRoom) -> None:
        self.room = room
        self.number = 0
        self.free: dict[str, Mapping[str, int]] = {}
        self.bound = dict.fromkeys("abc", 0)
        room.apply(snapshot("m", [], classes=CLASSES))

    def happens(self, kind: str, *what: Any) -> None:
        if kind == "place":
            self.room.place(what[0], [("m", (Component("", SHAPES[what[1]], what[2]),))], 0.0)
            return
        self.number += 1
        if kind == "bind":
            self.bound[what[0]] = what[1]
            self.room.apply(delta(self.number, bound={what[0]: what[1]}))
        elif kind == "node":
            self.free[what[0][0]] = what[0][1]
            self.room.apply(delta(self.number, what[0]))
        elif kind == "gone":
            self.free.pop(what[0], None)
            self.room.apply(delta(self.number, removed=[what[0]]))
        else:
            self.room.apply(delta(self.number, pools=(pool("p", what[1], what[0]),)))

    def rooms(self) -> dict[str, Room]:
        return {name: self.room.room(shape, "m") for name, shape in SHAPES.items()}


few_or_many_changes = st.sampled_from([2, 5, 40, 1000])


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(events, max_size=14), st.sampled_from([1, 2, 256]), few_or_many_changes)
def test_nobody_is_promised_a_node_that_cannot_take_it(steps: list[tuple[Any, ...]], shapes: int, changes: int) -> None:
    """However few shapes are kept up to date, and however few changes remembered."""
    told = Told(FleetRoom(shapes, changes))
    for step in steps:
        told.happens(*step)
        for uid in "abc":
            reserved = max(0, told.room.placed(uid, "m") - told.bound[uid])
            assert told.room.reserved(uid, "m") == reserved
        kept = told.rooms()
        told.room._shapes.known[:] = False
        assert kept == told.rooms()
        check_rows(told.room, told.free)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(events, max_size=14), st.sampled_from([2, 256]), few_or_many_changes, st.sampled_from([1, 512]))
def test_room_that_grows_is_told_whoever_asks_in_between(
    steps: list[tuple[Any, ...]], shapes: int, changes: int, many: int
) -> None:
    """However much changes at once. Of shapes that somebody waits for; telling too much costs time only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capacity, "MANY", many)
        told = Told(FleetRoom(shapes, changes))
        for shape in SHAPES.values():
            told.room.watch(shape, 1)
        for step in steps:
            before = told.rooms()
            told.happens(*step)
            with told.room.trial():
                told.room.release("b", ["m"])
            after, grown = told.rooms(), told.room.take_grown()
            for name, shape in SHAPES.items():
                more = any(getattr(after[name], kind) > getattr(before[name], kind) for kind in vars_of(Room()))
                assert not more or (shape, 0) in grown, name
        assert not told.room.take_grown()


def vars_of(room: Room) -> tuple[str, ...]:
    return tuple(room.__slots__)


def test_a_class_that_changes_its_meaning_counts_as_what_it_is_now() -> None:
    """Its number is given to another one later, while changes of nodes that had it are still remembered."""
    room = FleetRoom()
    selective = SHAPES["selective"]
    room.apply(snapshot("m", [node("a", 4)], classes={0: NodeClass(labels={"disk": "ssd"})}))
    for number in range(1, 20):
        labels = {"disk": "ssd" if number % 3 == 0 else "hdd", "batch": str(number)}
        room.apply(delta(number, node("a", 4 + number), classes={0: NodeClass(labels=labels)}))
        if number % 2:  # asked for now and then only
            assert room.room(selective, "m").free == (4 + number if number % 3 == 0 else 0)
        assert room.room(CPU, "m").free == 4 + number


def check_rows(room: FleetRoom, free: Mapping[str, Mapping[str, int]]) -> None:
    """What is left on a node is what was told of it without what is held there, and never less than nothing."""
    nodes, table = room._nodes, room._table("m")
    held = room._holdings.held_rows(table)
    for row, parts in held.items():
        assert (nodes.avail[: len(nodes.columns), table.base + row] >= 0).all()
        for part in parts:
            assert room._shapes.takes(room._shapes.slot(part.shape), table, row)
    for name, row in table.rows.items():
        for resource, column in nodes.columns.items():
            asked = sum(part.rows[row] * dict(part.shape.requests).get(resource, 0) for part in held.get(row, ()))
            assert nodes.avail[column, table.base + row] == free[name].get(resource, 0) - asked


PLACES = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(list(SHAPES)), st.integers(0, 12)),
    min_size=1,
    max_size=6,
)


def all_of(room: FleetRoom) -> dict[str, Any]:
    """Everything that a trial could leave behind."""
    nodes, table = room._nodes, room._table("m")
    part = slice(table.base, table.base + table.top)
    used = nodes.phase[part] != 5
    return {
        "avail": nodes.avail[:, part] * used,
        "weight": nodes.weight[part],
        "phase": nodes.phase[part],
        "rooms": [room.room(shape, "m") for shape in SHAPES.values()],
        "held": {
            row: sorted((part.shape.requests, part.rows[row]) for part in parts)
            for row, parts in room._holdings.held_rows(table).items()
        },
        "reserved": [(room.reserved(uid, "m"), room.placed(uid, "m")) for uid in "abc"],
        "deficit": room.deficit("m"),
        "split": {name: set(rows.split) for name, rows in table.pools.items()},
        "used": {number: count for number, count in table.used.items() if count},
    }


def same(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    for key, value in left.items():
        other = right[key]
        if isinstance(value, np.ndarray):
            width = max(value.shape[-1], other.shape[-1])  # rows may have been added, and emptied again
            value, other = _wide(value, width, key), _wide(other, width, key)
            assert np.array_equal(value, other), key
        else:
            assert value == other, key
    return True


def _wide(array: Any, width: int, key: str) -> Any:
    missing = width - array.shape[-1]
    fill = np.full((*array.shape[:-1], missing), 5 if key == "phase" else 0, dtype=array.dtype)
    return np.concatenate([array, fill], axis=-1)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(PLACES, PLACES, PLACES)
def test_a_trial_leaves_everything_as_it_was(before: Any, tried: Any, nested: Any) -> None:
    room = FleetRoom()
    nodes = [node(f"n{i}", 5, klass=i % 4, memory=9, **{"nvidia.com/gpu": i % 5}) for i in range(5)]
    room.apply(snapshot("m", nodes, classes=CLASSES, pools=[pool("p", 4, 3)]))

    def place(steps: Any) -> None:
        for uid, name, count in steps:
            room.place(uid, [("m", (Component("", SHAPES[name], count),))], 0.0)

    place(before)
    was = all_of(room)
    with room.trial():
        place(tried)
        inside = all_of(room)
        with room.trial():
            place(nested)
        seen = ("rooms", "reserved", "deficit", "held")  # nodes of a pool are counted as one again at the very end
        assert [inside[key] for key in seen] == [all_of(room)[key] for key in seen]
    assert same(was, all_of(room))


# -- messages --------------------------------------------------------------------------------------------------


def delta(number: int, *nodes: world.Node, epoch: int = 1, **more: Any) -> Delta:
    return Delta(member="m", epoch=epoch, number=number, observed_at=0, nodes=world.columns(nodes), **more)


def test_doubled_and_old_messages_change_nothing() -> None:
    room = FleetRoom()
    first, second, third = snapshot("m", [node("a", 2)]), delta(1, node("b", 3)), delta(2, node("b", 1))
    for message in (first, second, second, third, second, first, third):
        assert room.apply(message) is None
    assert room.room(CPU, "m").free == 3


def test_a_missing_delta_is_a_gap_until_the_next_snapshot() -> None:
    room = FleetRoom()
    room.apply(snapshot("m", [node("a", 2)]))
    assert room.apply(delta(2, node("b", 3))) == Gap("m")
    assert room.apply(snapshot("m", [node("a", 2), node("b", 3)], number=2)) is None
    assert room.room(CPU, "m").free == 5


def test_a_lost_last_delta_shows_at_the_heartbeat() -> None:
    room = FleetRoom()
    room.apply(snapshot("m", [node("a", 2)]))
    assert room.apply(Heartbeat(member="m", epoch=1, number=1, observed_at=1, reachable_at=1)) == Gap("m")


def test_a_snapshot_counts_when_its_last_chunk_is_there() -> None:
    room = FleetRoom()
    room.apply(snapshot("m", [node("old", 7)]))
    chunks = [
        snapshot("m", [node(f"n{i}", 1)], number=5).model_copy(update={"chunk": i, "chunks": 3}) for i in range(3)
    ]
    room.apply(chunks[0])
    room.apply(chunks[1])
    assert room.room(CPU, "m").free == 7
    assert room.apply(chunks[2]) is None
    assert room.room(CPU, "m").free == 3


def test_a_snapshot_whose_last_chunk_never_comes_is_asked_for_anew() -> None:
    begun = snapshot("m", [node("n", 1)], number=5).model_copy(update={"chunks": 3})
    for next_one in (delta(6, node("n", 1)), Heartbeat(member="m", epoch=1, number=5, observed_at=1, reachable_at=1)):
        room = FleetRoom()
        assert room.apply(begun) is None
        assert room.apply(next_one) == Gap("m")
        assert room.apply(begun.model_copy(update={"chunk": 1})) == Gap("m")


def test_a_heartbeat_of_a_newer_writer_counts_though_its_clock_is_behind() -> None:
    room = FleetRoom()
    room.apply(snapshot("m", [node("a", 2)]))
    room.apply(Heartbeat(member="m", epoch=1, number=0, observed_at=500, reachable_at=500))
    behind = Heartbeat(member="m", epoch=2, number=0, observed_at=100, reachable_at=0, lost=True)
    assert room.apply(behind) == Gap("m")
    assert room.apply(snapshot("m", [node("a", 2)], epoch=2)) is None
    feed = room.feed("m")
    assert feed is not None
    assert (feed.lost, feed.synced) == (True, True)


def test_a_new_epoch_begins_with_a_snapshot() -> None:
    room = FleetRoom()
    room.apply(snapshot("m", [node("a", 2)], number=9))
    assert room.apply(delta(1, node("a", 4), epoch=2)) == Gap("m")
    assert room.apply(snapshot("m", [node("a", 4)], epoch=2)) is None
    assert room.room(CPU, "m").free == 4


# -- pools and virtual nodes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "entry", "elastic"),
    [
        ("up to its maximum", pool("p", 4, 3, nodes=1), 8),
        ("no more than its stock", pool("p", 4, 9, stock=2), 8),
        ("no stock is no room", pool("p", 4, 9, stock=0), 0),
        ("the maximum is reached", pool("p", 4, 3, nodes=3), 0),
    ],
)
def test_a_pool_is_elastic_room(case: str, entry: Any, elastic: int) -> None:
    room = FleetRoom()
    room.apply(snapshot("m", [], pools=[entry]))
    assert room.room(CPU, "m") == Room(0, elastic, 0), case


def test_a_node_of_another_phase_is_room_that_grew() -> None:
    room = FleetRoom()
    room.watch(CPU, 1)
    room.apply(snapshot("m", [node("n", 2)]))
    room.take_grown()
    room.apply(delta(1, node("n", 2, phase="upcoming")))
    assert room.take_grown() == {(CPU, 0)}


@pytest.mark.parametrize("phase", ["upcoming", "headroom"])
def test_what_was_given_a_serverless_node_is_not_charged_to_one_that_is_to_be_added(phase: str) -> None:
    w = world.World()
    w.want(world.policy("m"))
    added = [node("n", 1, phase="upcoming")] if phase == "upcoming" else []
    w.member("m", node("eci", 1, phase="virtual"), *added, pools=[pool("p", 1, 5)] if phase == "headroom" else ())
    first = world.decided(w, world.deployment("first", 1))
    second = world.decided(w, world.deployment("second", 1))
    assert [(share.virtual, share.elastic) for share in w.placement(first).shares] == [(1, 0)]
    assert (w.placed(second), w.placement(second).pending) == ({}, 1)
    w.delta("m", node("eci", 0, phase="virtual"), bound={first.uid: 1})
    assert w.state.room.reserved(first.uid, "m") == 0
    assert w.state.room.room(CPU, "m").virtual == 0


def test_headroom_a_node_on_its_way_and_the_node_are_charged_once() -> None:
    room = FleetRoom()
    room.apply(snapshot("m", [], pools=[pool("p", 4, 2)]))
    room.place("w", [("m", (Component("", CPU, 5),))], 0.0)
    assert room.room(CPU, "m") == Room(0, 3, 0)
    room.apply(delta(1, node("new", 4, phase="upcoming"), pools=(pool("p", 4, 2, nodes=1),)))
    assert room.room(CPU, "m") == Room(0, 3, 0)
    room.apply(delta(2, node("new", 4)))
    total = room.room(CPU, "m")
    assert total.free + total.elastic == 3
    room.apply(delta(3, node("new", 0), bound={"w": 4}))
    assert room.room(CPU, "m") == Room(0, 3, 0)
    assert room.reserved("w", "m") == 1


def test_elastic_stock_that_vanishes_leaves_a_deficit_until_there_is_room() -> None:
    room = FleetRoom()
    room.apply(snapshot("m", [], pools=[pool("p", 4, 2)]))
    room.place("w", [("m", (Component("", CPU, 5),))], 0.0)
    room.apply(delta(1, pools=(pool("p", 4, 2, stock=0),)))
    assert (room.room(CPU, "m"), room.deficit("m")) == (Room(0, 0, 0), 5)
    room.apply(delta(2, node("a", 3)))
    assert (room.room(CPU, "m"), room.deficit("m")) == (Room(0, 0, 0), 2)
    room.apply(delta(3, node("b", 3)))
    assert (room.room(CPU, "m"), room.deficit("m")) == (Room(1, 0, 0), 0)


def test_why_there_is_no_room_is_counted() -> None:
    room = FleetRoom()
    nodes = [node("a", 4), node("b", 4, klass=2), node("c", 4, klass=3), node("d", 4, phase="unready")]
    room.apply(snapshot("m", nodes, classes=CLASSES, pools=[pool("p", 4, 2, stock=0)]))
    code, sentence = room.why(GPU, "m")
    assert code in ("InsufficientResources", "TaintNotTolerated", "Unschedulable", "NotReady")
    for part in ("4 nodes", "lacking nvidia.com/gpu (needs 2, none free)", "taint dedicated=db:NoSchedule", "cordoned"):
        assert part in sentence
    room.apply(snapshot("m", [], pools=[pool("p", 4, 2, stock=0)], number=1))
    assert room.why(CPU, "m") == ("NoNodes", "it has no nodes; pool p has no stock")


def test_components_must_fit_together() -> None:
    room = FleetRoom()
    room.apply(snapshot("m", [node("a", 4)]))
    head, worker = Component("head", Shape.of({"cpu": 2000}), 1), Component("worker", CPU, 2)
    assert room.fits_together((head, worker), "m")
    assert not room.fits_together((head, Component("worker", CPU, 3)), "m")
    assert room.room(CPU, "m").free == 4
