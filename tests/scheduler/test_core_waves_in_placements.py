"""Waves through the scheduler's state: revisions of shares, surge, and what is woken by what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest

from services.scheduler.core.values import Affinity, Amount, Beside, Workload
from services.scheduler.core.waves import Gate, Measured, Plan, Wave
from tests.scheduler.core_world import World, deployment, node, policy


class TestInPlacements:
    """The same through the scheduler's state: revisions of shares, surge, and what is woken by what."""

    def rolling_world(self) -> tuple[World, Workload]:
        world = World()
        world.want(policy(("edge", "idc"), division="duplicated"))
        for name in ("edge", "idc"):
            world.member(name, *[node(f"{name}{i}", 4) for i in range(3)])
        workload = replace(deployment("web", 4), max_surge=Amount(25, percent=True))
        world.want(workload)
        world.run()
        self.healthy(world, workload, 1)
        return world, workload

    @staticmethod
    def healthy(world: World, workload: Workload, revision: int, *members: str, **more: Any) -> None:
        for member in members or ("edge", "idc"):
            world.status(workload, member, revision=revision, replicas=4, ready=4, updated=4, **more)

    def test_a_new_revision_reaches_all_members_without_a_fleet_rollout(self) -> None:
        world, workload = self.rolling_world()
        newer = replace(workload, revision=2, generation=2)
        world.want(newer)
        world.run()
        assert {share.revision for share in world.placement(newer).shares} == {2}
        assert world.placement(newer).before == 1

    def test_waves_move_on_by_statuses_and_time_alone(self) -> None:
        world, workload = self.rolling_world()
        plan = Plan("web", (Wave("canary", Affinity(("edge",)), bake=60.0), Wave("rest")))
        world.state.on_rollout(workload.key, plan)
        newer = replace(workload, revision=2, generation=2)
        world.want(newer)
        world.run()
        assert self.revisions(world, newer) == {"edge": 2, "idc": 1}
        edge = world.placement(newer).share("edge")
        assert edge is not None
        assert edge.surge == 1
        self.healthy(world, newer, 2, "edge")
        world.run()
        edge = world.placement(newer).share("edge")
        assert edge is not None
        assert edge.surge == 0
        world.now += 61
        world.run()
        assert self.revisions(world, newer) == {"edge": 2, "idc": 2}
        self.healthy(world, newer, 2)
        world.run()
        found = world.placement(newer).waves
        assert found is not None
        assert found.state == "done"
        assert world.run() == []

    def test_a_surge_is_reserved_while_it_lasts(self) -> None:
        world, workload = self.rolling_world()
        world.state.on_rollout(workload.key, Plan("web", (Wave("all"),), at_once=2))
        assert world.state.room.reserved(workload.uid, "idc") == 4
        newer = replace(workload, revision=2, generation=2)
        world.want(newer)
        world.run()
        assert world.state.room.reserved(workload.uid, "idc") == 5

    BESIDE: ClassVar[dict[str, tuple[Beside | None, int]]] = {
        "replaced one for one": (None, 5),
        "blue and green": (Beside((Amount(50, percent=True), Amount(100, percent=True))), 8),
        "more than there are": (Beside((Amount(9),)), 8),
        "an extra workload, and the promotion beside it": (Beside((Amount(30, percent=True),), promoted=True), 7),
    }

    @pytest.mark.parametrize("name", BESIDE)
    def test_what_a_rollout_starts_beside_the_old_pods_is_reserved_from_the_start(self, name: str) -> None:
        beside, expected = self.BESIDE[name]
        world, workload = self.rolling_world()
        newer = replace(workload, revision=2, generation=2, stepwise=True, beside=beside)
        world.want(newer)
        world.run()
        assert world.state.room.reserved(workload.uid, "idc") == expected
        self.healthy(world, newer, 2, rolling=True)
        world.run()
        assert world.state.room.reserved(workload.uid, "idc") == expected
        self.healthy(world, newer, 2)
        world.run()
        assert world.state.room.reserved(workload.uid, "idc") == 4

    @pytest.mark.parametrize(
        ("revision", "updated", "before"),
        [(2, 1, 1), (2, 4, 2), (1, 4, 1)],
        ids=["at its first step", "all pods are of it", "not heard of it yet"],
    )
    def test_what_members_had_is_what_they_had_wholly(self, revision: int, updated: int, before: int) -> None:
        """A newer revision comes while the last one is on its way, step by step."""
        world, workload = self.rolling_world()
        second = replace(workload, revision=2, generation=2, stepwise=True)
        world.want(second)
        world.run()
        for member in ("edge", "idc"):
            world.status(second, member, revision=revision, replicas=4, ready=4, updated=updated, rolling=revision == 2)
        world.want(replace(second, revision=3, generation=3))
        world.run()
        assert world.placement(second).before == before

    def test_an_undone_member_stays_where_it_is_until_a_newer_revision(self) -> None:
        world, workload = self.rolling_world()
        newer = replace(workload, revision=2, generation=2)
        world.want(newer)
        world.run()
        undone = replace(newer, generation=3, pins={"idc": 1})
        world.want(undone)
        world.run()
        assert self.revisions(world, undone) == {"edge": 2, "idc": 1}
        scaled = replace(undone, generation=4, replicas=5)
        world.want(scaled)
        world.run()
        assert self.revisions(world, scaled) == {"edge": 2, "idc": 1}
        world.want(replace(scaled, generation=5, revision=3, pins={}))
        world.run()
        assert self.revisions(world, scaled) == {"edge": 3, "idc": 3}

    def test_a_query_is_asked_about_members_that_run_the_revision_of_the_wave_under_way(self) -> None:
        world, workload = self.rolling_world()
        gate = Gate(query=True, highest=1.0)
        world.state.on_rollout(
            workload.key, Plan("web", (Wave("canary", Affinity(("edge",)), gate=gate), Wave("rest")))
        )
        newer = replace(workload, revision=2, generation=2)
        world.want(newer)
        world.run()
        assert world.state.asking() == [], "the canary does not run it yet"
        self.healthy(world, newer, 2, "edge")
        world.run()
        ((key, state, members),) = world.state.asking()
        assert (key, state.wave, members) == (workload.key, 0, ["edge"])
        world.state.on_measured(key, "edge", Measured(1, 0, 0.5))
        world.run()
        assert self.revisions(world, newer) == {"edge": 2, "idc": 1}
        world.state.on_measured(key, "edge", Measured(2, 0, 0.5))
        world.run()
        assert self.revisions(world, newer) == {"edge": 2, "idc": 2}
        assert world.state.asking() == [], "the last wave asks nobody"

    @staticmethod
    def revisions(world: World, workload: Workload) -> dict[str, int]:
        return {share.member: share.revision for share in world.placement(workload).shares if share.present}
