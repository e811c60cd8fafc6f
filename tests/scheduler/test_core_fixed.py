"""Numbers that the policy fixes (Duplicated, static weights): room does not cap them, a shortfall is told."""

from __future__ import annotations

from services.scheduler.core.values import Affinity, Gone, Spread, StaticWeight, Workload
from tests.scheduler.core_world import World, decided, deployment, fleet, node, policy, slots


def weight(name: str, weight: int = 1) -> StaticWeight:
    return StaticWeight(Affinity(names=(name,)), weight)


def equal(**rooms: int) -> World:
    return fleet(tuple(rooms), rooms=rooms, division="static", weights=tuple(weight(name) for name in rooms))


def duplicated(**rooms: int) -> World:
    return fleet(tuple(rooms), rooms=rooms, division="duplicated")


def kept(world: World, web: Workload) -> dict[str, int]:
    return {s.member: s.replicas - s.retiring for s in world.placement(web).shares if s.replicas > s.retiring}


# -- static weights -------------------------------------------------------------------------------------------------


def test_a_member_that_no_weight_selects_gets_nothing() -> None:
    world = fleet(("a", "b"), rooms={"a": 9, "b": 9}, division="static", weights=(weight("a"),))
    web = decided(world, deployment("web", 3))
    assert [share.member for share in world.placement(web).shares] == ["a"]


def test_where_no_weight_selects_any_all_weigh_the_same() -> None:
    world = fleet(("a", "b"), rooms={"a": 9, "b": 9}, division="static", weights=(weight("elsewhere"),))
    assert world.placed(decided(world, deployment("web", 4))) == {"a": 2, "b": 2}


def test_the_first_weight_that_selects_a_member_counts() -> None:
    weights = (weight("a", 3), StaticWeight(Affinity(), 1))
    world = fleet(("a", "b"), rooms={"a": 9, "b": 9}, division="static", weights=weights)
    assert world.placed(decided(world, deployment("web", 4))) == {"a": 3, "b": 1}


def test_a_weight_that_gives_nothing_leaves_no_share_that_would_have_to_be_removed() -> None:
    world = equal(a=9, b=9)
    web = decided(world, deployment("web", 1))
    assert len(world.placement(web).shares) == 1
    decided(world, deployment("web", 2, generation=2))
    assert world.placed(web) == {"a": 1, "b": 1}


def test_a_part_waits_while_the_old_object_is_still_being_removed_and_goes_to_nobody_else() -> None:
    world = equal(a=9, b=9)
    web = decided(world, deployment("web", 2))
    decided(world, deployment("web", 1, generation=2))
    (gone,) = world.leaving(web)
    decided(world, deployment("web", 2, generation=3))
    assert (sum(world.placed(web).values()), world.placement(web).pending) == (1, 1)
    assert "Removing" in world.codes(web)
    world.outcome(web, gone)
    world.run()
    assert (world.placed(web), world.placement(web).pending) == ({"a": 1, "b": 1}, 0)


def test_other_weights_move_replicas_replacements_first() -> None:
    world = equal(a=9, b=9)
    web = decided(world, deployment("web", 4))
    for name in "ab":
        world.status(web, name, replicas=2, ready=2)
    world.want(policy(("a", "b"), division="static", weights=(weight("b"),)))
    world.run()
    assert (world.placed(web), kept(world, web)) == ({"a": 2, "b": 4}, {"b": 4})
    world.status(web, "b", replicas=4, ready=4)
    world.run()
    assert (world.placed(web), world.leaving(web)) == ({"b": 4}, {"a"})


def test_asked_again_in_the_middle_of_a_move_it_takes_no_serving_replica_either() -> None:
    world = equal(a=9, b=9)
    web = decided(world, deployment("web", 4))
    for name in "ab":
        world.status(web, name, replicas=2, ready=2)
    world.want(policy(("a", "b"), division="static", weights=(weight("b"),)))
    world.run()
    decided(world, deployment("web", 4, generation=2, labels={"new": "label"}))
    assert (world.placed(web), kept(world, web)) == ({"a": 2, "b": 4}, {"b": 4})


def test_replicas_of_fixed_numbers_count_as_free_room_once_they_are_divided() -> None:
    world = equal(a=9, b=9)
    web = decided(world, deployment("web", 4))
    world.want(policy(("a", "b")))
    world.run()
    assert [(share.replicas, share.free) for share in world.placement(web).shares] == [(2, 2), (2, 2)]


def test_a_lost_members_part_goes_to_the_others_and_comes_back_replacements_first() -> None:
    world = equal(a=9, b=9)
    web = decided(world, deployment("web", 4))
    for name in "ab":
        world.status(web, name, replicas=2, ready=2)
    world.heartbeat("b", lost=True)
    world.run()
    assert world.placed(web) == {"a": 4}
    world.status(web, "a", replicas=4, ready=4)
    world.now += 10
    world.heartbeat("b", lost=False)
    world.run()
    assert world.placed(web) == {"a": 4}
    world.outcome(web, "b")
    world.run()
    assert (world.placed(web), kept(world, web)) == ({"a": 4, "b": 2}, {"a": 2, "b": 2})


# -- Duplicated -----------------------------------------------------------------------------------------------------


def test_a_copy_in_a_lost_member_is_not_replaced_and_is_there_when_the_member_returns() -> None:
    world = duplicated(a=2, b=2)
    web = decided(world, deployment("web", 2))
    world.heartbeat("b", lost=True)
    world.run()
    assert (world.placed(web), world.leaving(web), "MemberLost" in world.codes(web)) == ({"a": 2, "b": 2}, set(), True)
    world.now += 10
    world.heartbeat("b", lost=False)
    decided(world, deployment("web", 1, generation=2))
    assert world.placed(web) == {"a": 1, "b": 1}


def test_only_the_tier_in_force_gets_copies() -> None:
    world = fleet("a", "b", rooms={"a": 9, "b": 9}, division="duplicated")
    web = decided(world, deployment("web", 2))
    assert world.placed(web) == {"a": 2}
    world.want(Gone("member", "a"))
    world.run()
    assert world.placed(web) == {"b": 2}


def test_copies_that_a_changed_policy_has_in_a_later_tier_leave() -> None:
    world = duplicated(a=2, b=2)
    web = decided(world, deployment("web", 2))
    for name in "ab":
        world.status(web, name, replicas=2, ready=2)
    world.want(policy("a", "b", division="duplicated"))
    world.run()
    assert (world.placed(web), world.leaving(web)) == ({"a": 2}, {"b"})


def test_copies_beyond_the_groups_that_a_changed_policy_allows_leave() -> None:
    world = duplicated(a=2, b=2, c=2)
    web = decided(world, deployment("web", 2))
    for name in "abc":
        world.status(web, name, replicas=2, ready=2)
    world.want(policy(("a", "b", "c"), division="duplicated", spread=(Spread("cluster", maximum=2),)))
    world.run()
    assert (len(world.placed(web)), len(world.leaving(web))) == (2, 1)


def test_too_few_groups_keep_what_is_there() -> None:
    world = duplicated(a=2, b=2)
    web = decided(world, deployment("web", 2))
    world.want(policy(("a", "b"), division="duplicated", spread=(Spread("cluster", minimum=3),)))
    world.run()
    assert (world.placed(web), "SpreadConstraint" in world.codes(web)) == ({"a": 2, "b": 2}, True)


# -- shortfalls -----------------------------------------------------------------------------------------------------


def shortfall(world: World, web: Workload) -> list[tuple[tuple[str, ...], str]]:
    return [(r.members, r.message) for r in world.placement(web).reasons if r.code == "Shortfall"]


def test_a_shortfall_is_told_with_its_number() -> None:
    world = duplicated(a=3, b=1)
    web = decided(world, deployment("web", 3))
    assert world.placed(web) == {"a": 3, "b": 3}
    ((members, message),) = shortfall(world, web)
    assert (members, message.startswith("2 of the 3 replicas")) == (("b",), True)


def test_it_is_told_as_long_as_it_lasts() -> None:
    world = duplicated(a=1)
    web = decided(world, deployment("web", 3))
    world.delta("a", node("a0", 0), bound={web.uid: 1})
    decided(world, deployment("web", 3, generation=2))
    ((_, message),) = shortfall(world, web)
    assert message.startswith("2 of the 3 replicas")
    assert "lacking cpu" in message
    world.delta("a", *slots("new", 2))
    decided(world, deployment("web", 3, generation=3))
    assert shortfall(world, web) == []


def test_it_is_no_longer_told_once_all_serve() -> None:
    world = duplicated(a=1)
    web = decided(world, deployment("web", 2))
    world.delta("a", *slots("new", 1))
    world.status(web, "a", replicas=2, ready=1)
    assert world.run() == []
    world.status(web, "a", replicas=2, ready=2)
    world.run()
    assert shortfall(world, web) == []
