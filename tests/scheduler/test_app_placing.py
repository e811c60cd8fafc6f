"""The scheduler on the bus: placing, overflowing, coming back, draining, deleting, planning."""

from __future__ import annotations

import anyio

from services.scheduler.tidying import HISTORY
from shared import telemetry
from shared.contracts import subjects
from shared.contracts.placement import Placement
from shared.contracts.rebalance import Rebalance, Stuck
from shared.contracts.refs import ObjectRef, Order

POLICY = ObjectRef(
    group="policy.one.alibabacloud.com", version="v1alpha1", kind="PropagationPolicy", namespace="test", name="p"
)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_placed(stage) -> None:
    async with stage.scheduler():
        await stage.member("idc", 2)
        await stage.member("cloud", 4)
        await stage.apply(stage.policy(["idc"], ["cloud"]), stage.deployment(replicas=2))
        placement = await stage.until({"idc": 2})
        desired = await stage.desired()
        assert (placement.uid, placement.generation, placement.wanted) == (desired.uid, 1, 2)
        assert placement.policy == "PropagationPolicy test/p"


async def test_overflow_to_the_next_tier_and_back_again(stage) -> None:
    async with stage.scheduler():
        await stage.member("idc", 2)
        await stage.member("cloud", 4)
        await stage.apply(stage.policy(["idc"], ["cloud"]), stage.deployment(replicas=2))
        await stage.until({"idc": 2})
        await stage.scale(4)
        await stage.until({"idc": 2, "cloud": 2})
        await stage.scale(2)
        await stage.until({"idc": 2})


async def test_what_fits_nowhere_waits_for_room(stage) -> None:
    async with stage.scheduler():
        idc = await stage.member("idc", 2)
        await stage.apply(stage.policy(["idc"]), stage.deployment(replicas=5))
        waiting = await stage.until({"idc": 2}, pending=3)
        assert waiting.reasons
        idc.bound = {waiting.uid: 2}
        idc.cpus = [0, 3]
        idc.number += 1
        await idc.snapshot()
        await stage.until({"idc": 5})


async def test_a_policy_that_comes_later_places_what_was_there(stage) -> None:
    async with stage.scheduler():
        await stage.member("idc", 2)
        answer = await stage.apply(stage.deployment(replicas=1))
        assert "no policy selects it" in answer.accepted[0].warnings[0]
        await stage.apply(stage.policy(["idc"]))
        await stage.until({"idc": 1})


async def test_a_cordoned_member_gets_nothing_new(stage) -> None:
    async with stage.scheduler():
        await stage.member("idc", 8)
        await stage.member("cloud", 8)
        await stage.apply(stage.policy(["idc"], ["cloud"]), stage.deployment(replicas=2))
        await stage.until({"idc": 2})
        await stage.wish("idc", "cordoned")
        await stage.scale(3)
        await stage.until({"idc": 2, "cloud": 1})
        await stage.wish("idc", "open")
        await stage.scale(4)
        await stage.until({"idc": 3, "cloud": 1})


async def test_a_drained_member_is_left_once_its_replacements_serve(stage) -> None:
    async with stage.scheduler():
        await stage.member("idc", 8)
        await stage.member("cloud", 8)
        await stage.apply(stage.policy(["idc"], ["cloud"]), stage.deployment(replicas=2))
        placed = await stage.until({"idc": 2})
        await stage.serving(placed, "idc", 2)
        await stage.wish("idc", "drained")
        moving = await stage.until({"idc": 2, "cloud": 2})
        assert moving.share("idc").retiring == 2, "what serves stays until its replacement does"
        await stage.serving(moving, "cloud", 2)
        await stage.until({"cloud": 2})


async def test_stuck_replicas_move_and_the_member_rests(stage) -> None:
    async with stage.scheduler():
        await stage.member("idc", 8)
        await stage.member("cloud", 8)
        await stage.apply(stage.policy(["idc"], ["cloud"]), stage.deployment(replicas=3))
        placed = await stage.until({"idc": 3})
        await stage.serving(placed, "idc", 1)
        request = Rebalance(
            ref=placed.ref,
            uid=placed.uid,
            order=placed.order,
            cause="stuck",
            stuck=(Stuck(member="idc", count=2, ready=1, since=1.0),),
            asked_at=2.0,
        )
        await stage.bus.publish(subjects.rebalance(placed.ref), request.encode())
        moved = await stage.until({"idc": 1, "cloud": 2})
        assert [rest.member for rest in moved.rests] == ["idc"]
        assert moved.cause == "rebalance"


async def test_a_rebalance_request_that_cannot_be_read_is_refused(stage) -> None:
    async with stage.scheduler():
        await stage.bus.publish(subjects.rebalance(stage.WEB), b"{}")

        async def refused() -> bool:
            return len(await stage.bus.history("REJECTED", subjects.rejected("scheduler"))) == 1

        await stage.eventually(refused)


async def test_a_deletion_ends_when_every_member_is_rid_of_it(stage) -> None:
    async with stage.scheduler():
        await stage.member("idc", 1)
        await stage.member("cloud", 4)
        await stage.apply(stage.policy(["idc"], ["cloud"]), stage.deployment(replicas=2))
        await stage.until({"idc": 1, "cloud": 1})
        await stage.delete()
        going = await stage.until({})
        assert going.deleted
        assert {share.member: share.present for share in going.shares} == {"idc": False, "cloud": False}
        await stage.report(going, "idc", "deleted")
        assert await stage.desired() is not None
        await stage.report(await stage.placement(), "cloud", "deleted")

        async def gone() -> bool:
            return await stage.placement() is None and await stage.desired() is None

        await stage.eventually(gone)
        await stage.apply(stage.deployment(replicas=1))
        again = await stage.until({"idc": 1})
        assert again.uid != going.uid


async def test_a_deleted_policy_still_says_that_objects_are_preserved(stage) -> None:
    async with stage.scheduler():
        await stage.member("idc", 4)
        kept = stage.policy(["idc"], spec="preserveResourcesOnDeletion: true,")
        await stage.apply(kept, stage.deployment(replicas=2))
        await stage.until({"idc": 2})
        await stage.delete(POLICY)
        await stage.eventually(lambda: frozen(stage))
        await stage.delete()
        going = await stage.until({})
        assert (going.deleted, going.preserve) == (True, True)


async def frozen(stage) -> bool:
    return (await stage.placement()).policy == ""


async def test_deleting_what_was_never_placed_ends_at_once(stage) -> None:
    async with stage.scheduler():
        await stage.apply(stage.deployment())
        await stage.delete()

        async def gone() -> bool:
            return await stage.desired() is None

        await stage.eventually(gone)


async def test_deleted_policies_and_members_leave_desired(stage) -> None:
    async with stage.scheduler():
        await stage.member("idc", 4)
        await stage.apply(stage.policy(["idc"]), stage.deployment(replicas=2))
        await stage.until({"idc": 2})
        await stage.delete(POLICY)

        async def gone() -> bool:
            return await stage.desired(POLICY) is None

        await stage.eventually(gone)
        placement = await stage.placement()
        assert stage.counts(placement) == {"idc": 2}, "deleting a policy freezes its placements"


async def test_the_newest_templates_are_kept_for_undo_and_older_ones_dropped(stage) -> None:
    newest = HISTORY + 3
    async with stage.scheduler():
        await stage.member("idc", 4)
        await stage.apply(stage.policy(["idc"]), stage.deployment(image="1"))
        placed = await stage.until({"idc": 2})
        for number in range(2, newest + 1):
            await stage.apply(stage.deployment(image=str(number)))

        async def dropped() -> bool:
            kept = await stage.bus.history("REVISION", subjects.revisions(placed.uid))
            numbers = sorted(subjects.revision_of(message.subject)[1] for message in kept if not message.removed)
            placement = await stage.placement()
            return placement.revision == newest and numbers == list(range(newest - HISTORY, newest))

        await stage.eventually(dropped)


async def test_a_plan_decides_without_reserving(stage) -> None:
    async with stage.scheduler():
        await stage.member("idc", 2)
        await stage.member("cloud", 4)
        await stage.apply(stage.policy(["idc"], ["cloud"]))
        for _ in range(2):
            planned = await stage.plan(stage.deployment(replicas=3))
            (placement,) = planned.placements
            assert stage.counts(placement) == {"idc": 2, "cloud": 1}
        assert await stage.placement() is None
        assert await stage.desired() is None
        await stage.apply(stage.deployment(replicas=2))
        await stage.until({"idc": 2})


async def test_a_plan_takes_policies_along_and_puts_them_back(stage) -> None:
    async with stage.scheduler():
        await stage.member("idc", 4)
        await stage.member("cloud", 4)
        await stage.apply(stage.policy(["idc"]), stage.deployment(replicas=2))
        placed = await stage.until({"idc": 2})
        planned = await stage.plan(stage.policy(["cloud"]), stage.deployment(name="other", replicas=2))
        assert stage.counts(planned.placements[0]) == {"cloud": 2}
        planned = await stage.plan(stage.deployment(name="other", replicas=2))
        assert stage.counts(planned.placements[0]) == {"idc": 2}
        assert await stage.placement() == placed, "what is placed stays where it is"


async def test_a_plan_of_nonsense_answers_with_faults(stage) -> None:
    async with stage.scheduler():
        planned = await stage.plan("{kind: Deployment}")
        assert {fault.field for fault in planned.faults} == {"apiVersion", "metadata"}


async def test_the_trace_goes_on_from_the_request_into_the_placement(stage) -> None:
    async with stage.scheduler():
        await stage.member("idc", 2)
        await stage.apply(stage.policy(["idc"]))
        await stage.bus.request(subjects.APPLY, stage.deployment(replicas=1).encode(), headers={"traceparent": TRACE})
        await stage.until({"idc": 1})
        message = await stage.bus.last("PLACEMENT", subjects.placement(stage.WEB))
        assert message.headers["traceparent"] == TRACE


async def test_a_decision_is_a_span_of_that_trace(stage) -> None:
    with telemetry.recorded() as spans:
        async with stage.scheduler():
            await stage.member("idc", 2)
            await stage.apply(stage.policy(["idc"]))
            await stage.bus.publish(
                subjects.submit("apply"), stage.deployment(replicas=1).encode(), headers={"traceparent": TRACE}
            )
            await stage.until({"idc": 1})
    decided = [span for span in spans.finished() if span.name.startswith("decide ")]
    assert TRACE.split("-")[1] in {span.trace_id for span in decided}


async def test_a_burst_never_promises_the_same_room_twice(stage) -> None:
    async with stage.scheduler():
        await stage.member("idc", 8, 8)
        await stage.member("cloud", 8)
        await stage.apply(stage.policy(["idc"], ["cloud"]))
        async with anyio.create_task_group() as group:
            for number in range(30):
                text = stage.deployment(name=f"w{number}", replicas=1)
                group.start_soon(stage.bus.publish, subjects.submit("apply"), text.encode())
        refs = [stage.WEB.model_copy(update={"name": f"w{number}"}) for number in range(30)]

        async def all_decided() -> bool:
            return all([await stage.placement(ref) for ref in refs])

        await stage.eventually(all_decided)
        placements: list[Placement] = [await stage.placement(ref) for ref in refs]
        totals: dict[str, int] = {}
        for placement in placements:
            for member, count in stage.counts(placement).items():
                totals[member] = totals.get(member, 0) + count
        assert totals == {"idc": 16, "cloud": 8}
        assert sum(placement.pending for placement in placements) == 6
        assert len({(p.order.epoch, p.order.counter) for p in placements}) == 1
        assert placements[0].order == Order(epoch=placements[0].order.epoch, counter=1)
