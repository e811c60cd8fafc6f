"""What is promised fits: replicas of several shapes, on nodes of several sizes, decided between events of any kind.

The oracle tries every way to put what is reserved on what the member was said to have. Where it finds none, some
replica was promised a place that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.scheduler.core.values import Shape
from shared.contracts.refs import Order
from tests.scheduler.core_world import World, deployment, node, policy, pool

SHAPES = {
    "small": Shape.of({"cpu": 1000}),
    "large": Shape.of({"cpu": 2000}),
    "gpu": Shape.of({"cpu": 1000, "nvidia.com/gpu": 1}),
    "wide": Shape.of({"cpu": 3000, "nvidia.com/gpu": 2}),
}
COST = {"small": (1, 0), "large": (2, 0), "gpu": (1, 1), "wide": (3, 2)}  # (cores, GPUs)
Size = tuple[int, int]
MEMBERS = ("idc", "ack")
POOL: Size = (3, 0)  # what a node of the pool has


@dataclass
class Told:
    """What a member has said: free per node, nodes that its pool can add, bound replicas per workload."""

    free: dict[str, Size] = field(default_factory=dict)
    headroom: int = 0
    bound: dict[str, int] = field(default_factory=dict)


def fits(reserved: Iterable[str], places: Iterable[Size]) -> bool:
    """Whether there is a place for each, tried exhaustively."""

    @cache
    def search(left: tuple[str, ...], free: tuple[Size, ...]) -> bool:
        if not left:
            return True
        cores, gpus = COST[left[0]]
        for index, (has_cores, has_gpus) in enumerate(free):
            if index and free[index - 1] == free[index]:
                continue  # an equal node was tried
            if has_cores >= cores and has_gpus >= gpus:
                rest = (*free[:index], *free[index + 1 :], (has_cores - cores, has_gpus - gpus))
                if search(left[1:], tuple(sorted(rest))):
                    return True
        return False

    return search(tuple(sorted(reserved, key=lambda name: COST[name], reverse=True)), tuple(sorted(places)))


sizes = st.tuples(st.integers(0, 4), st.integers(0, 2))
members = st.sampled_from(MEMBERS)
nodes = st.sampled_from(["n1", "n2", "n3"])
events = st.one_of(
    st.tuples(st.just("want"), st.sampled_from(list(SHAPES)), st.integers(0, 5)),
    st.tuples(st.just("want"), st.sampled_from(list(SHAPES)), st.integers(0, 5)),
    st.tuples(st.just("node"), members, nodes, sizes),
    st.tuples(st.just("gone"), members, nodes),
    st.tuples(st.just("stock"), st.integers(0, 2)),
    st.tuples(st.just("bind"), members, nodes, st.sampled_from(list(SHAPES))),
)


class Fleet:
    def __init__(self, start: list[Size]) -> None:
        self.world = World(shapes=2)  # fewer than there are: room is computed anew again and again
        self.told = {name: Told() for name in MEMBERS}
        self.generation = 0
        self.world.want(policy(*MEMBERS, ecs_provision=True))
        for name in MEMBERS:
            self.told[name].free = {f"n{index}": size for index, size in enumerate(start, start=1)}
            self.world.member(name, *(self.node(*entry) for entry in self.told[name].free.items()))

    @staticmethod
    def node(name: str, size: Size) -> tuple[str, dict[str, int], str, int]:
        return node(name, size[0], **{"nvidia.com/gpu": size[1]})

    def tell(self, member: str, *names: str, removed: tuple[str, ...] = ()) -> None:
        told = self.told[member]
        more = {"pools": (pool("p", POOL[0], told.headroom),)} if member == "ack" else {}
        self.world.delta(
            member,
            *(self.node(name, told.free[name]) for name in names),
            removed=list(removed),
            bound=dict(told.bound),
            **more,
        )

    def happens(self, event: tuple[str, ...]) -> None:
        match event:
            case ("want", name, count):
                self.generation += 1
                self.world.want(deployment(name, count, shape=SHAPES[name], generation=self.generation))  # type: ignore[arg-type]
            case ("node", member, name, size):
                self.told[member].free[name] = size  # type: ignore[assignment]
                self.tell(member, name)
            case ("gone", member, name):
                if self.told[member].free.pop(name, None) is not None:
                    self.tell(member, removed=(name,))
            case ("stock", count):
                self.told["ack"].headroom = count  # type: ignore[assignment]
                self.tell("ack")
            case ("bind", member, name, shape):
                self.bind(member, name, shape)

    def bind(self, member: str, name: str, shape: str) -> None:
        """The member's own scheduler puts a replica wherever it fits, not where it was thought to go."""
        told, (cores, gpus) = self.told[member], COST[shape]
        free = told.free.get(name)
        if free is None or free[0] < cores or free[1] < gpus or not self.reserved(member).get(shape):
            return
        told.free[name] = (free[0] - cores, free[1] - gpus)
        told.bound[f"uid-{shape}"] = told.bound.get(f"uid-{shape}", 0) + 1
        self.tell(member, name)

    def reserved(self, member: str) -> dict[str, int]:
        found = {}
        for name in SHAPES:
            placement = self.world.state.explain(deployment(name, 0).key)
            share = placement.share(member) if placement is not None else None
            if share is not None:
                found[name] = max(0, share.replicas - self.told[member].bound.get(f"uid-{name}", 0))
        return found

    def decide(self) -> bool:
        state = self.world.state
        before = {name: state.room.deficit(name) for name in MEMBERS}
        decision = state.next_decision(self.world.now)
        if decision is None:
            return False
        self.world.counter += 1
        state.confirm(state.assume(decision, Order(epoch=1, counter=self.world.counter)))
        assert all(state.room.deficit(name) <= before[name] for name in MEMBERS), "a decision over-committed"
        return True

    def check(self) -> None:
        for member, told in self.told.items():
            if self.world.state.room.deficit(member) == 0:
                reserved = [name for name, count in self.reserved(member).items() for _ in range(count)]
                places = [*told.free.values(), *([POOL] * told.headroom)]
                assert fits(reserved, places), f"{member}: {reserved} into {places}"


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(sizes, max_size=3), st.lists(st.tuples(events, st.integers(0, 3)), max_size=14))
def test_what_is_promised_fits(start: list[Size], steps: list[tuple[tuple[str, ...], int]]) -> None:
    fleet = Fleet(start)
    for event, decisions in steps:
        fleet.happens(event)
        fleet.check()
        for _ in range(decisions):
            if fleet.decide():
                fleet.check()
    while fleet.decide():
        fleet.check()


def test_the_oracle_itself() -> None:
    assert fits(["large", "small"], [(2, 0), (1, 0)])
    assert not fits(["large", "large"], [(3, 0), (1, 0)])
    assert fits(["wide", "gpu", "small"], [(4, 3), (1, 0)])
    assert not fits(["gpu", "gpu"], [(4, 1)])
