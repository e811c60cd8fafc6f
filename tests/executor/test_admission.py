"""The policy that sends pods which ask for ECI by label to brim's scheduler, in members where the fleet wants it.

What its expressions do is for a real API server to say: tests/real has that.
"""

from __future__ import annotations

from typing import Any

import pytest

from services.executor.core import admission
from shared.contracts import subjects
from shared.contracts.cluster import cluster_ref
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Share

SERVES, SERVES_NOT = "v1.36.0", "v1.35.3"
SHELVES = ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings")


def held(w: Any, member: str = "idc") -> list[Any]:
    """Policy and binding as the member has them."""
    store = w.members[member].store
    return [store.get(f"{shelf}.{admission.GROUP}", "", admission.NAME) for shelf in SHELVES]


async def told(w: Any, member: str = "idc") -> Outcome | None:
    message = await w.bus.last("OUTCOME", subjects.outcome(member, cluster_ref(member)))
    return None if message is None or message.removed else Outcome.decode(message.data)


async def becomes(w: Any, result: str, *, generation: int = 1) -> Outcome:
    found: list[Outcome] = []

    async def said() -> bool:
        outcome = await told(w)
        found[:] = [outcome] if outcome is not None else []
        return outcome is not None and (outcome.result, outcome.order.counter) == (result, generation)

    await w.eventually(said)
    return found[0]


async def is_silent(w: Any) -> bool:
    return await told(w) is None


async def test_it_is_put_in_force_and_told_of(world: Any) -> None:
    async with world("idc", version=SERVES) as w, w.executor():
        await w.join("idc", eci_label=True, generation=2)
        outcome = await becomes(w, "applied", generation=2)
        assert outcome.message == "pods that ask for ECI by label go to brim's scheduler"
        policy, binding = held(w)
        assert policy["spec"]["variables"] == [{"name": "asks", "expression": admission.ASKS}]
        assert policy["spec"]["failurePolicy"] == "Ignore", "no fault of it keeps a pod out"
        assert binding["spec"]["policyName"] == admission.NAME


async def test_whoever_leads_next_changes_nothing_and_mends_what_others_changed(world: Any) -> None:
    async with world("idc", version=SERVES) as w:
        await w.join("idc", eci_label=True)
        async with w.executor():
            await becomes(w, "applied")
        before = held(w)
        with w.requests("idc") as requests:
            async with w.executor():
                await w.eventually(lambda: len([line for line in requests.seen if line.startswith("PATCH")]) == 2)
        assert held(w) == before
        w.members["idc"].store.remove(f"{SHELVES[1]}.{admission.GROUP}", "", admission.NAME)
        async with w.executor():
            await w.eventually(lambda: held(w)[1] is not None)


async def test_it_goes_where_it_is_not_wanted_any_more(world: Any) -> None:
    async with world("idc", version=SERVES) as w:
        await w.join("idc", eci_label=True)
        async with w.executor():
            await becomes(w, "applied")
        await w.join("idc", generation=2)  # while nobody looks
        async with w.executor():
            await w.eventually(lambda: held(w) == [None, None])
            await w.eventually(lambda: is_silent(w))


async def test_a_member_that_has_no_such_api_says_what_to_do(world: Any) -> None:
    async with world("idc", version=SERVES_NOT) as w, w.executor():
        await w.join("idc", eci_label=True, generation=2)
        outcome = await becomes(w, "failed", generation=2)
        assert outcome.code == "NoKindMatch"
        assert outcome.message == admission.not_served("idc")
        assert "as Kubernetes does from 1.36 on" in outcome.message
        await w.join("idc", generation=3)
        await w.eventually(lambda: is_silent(w))


async def test_nobody_is_asked_where_it_is_not_wanted(world: Any) -> None:
    """The right to it is needed only where it is."""
    async with world("idc", version=SERVES) as w:
        with w.requests("idc") as requests:
            async with w.executor():
                manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}}
                await w.desire(manifest)
                await w.said("idc", await w.place(manifest, Share(member="idc", replicas=0, revision=1)), "applied")
        assert not [line for line in requests.seen if admission.GROUP in line]


async def test_somebody_elses_is_left_alone_and_told_of(world: Any) -> None:
    async with world("idc", version=SERVES) as w:
        theirs = {**admission.policy("v1"), "metadata": {"name": admission.NAME, "uid": "theirs", "generation": 1}}
        w.members["idc"].store.create(f"{SHELVES[0]}.{admission.GROUP}", theirs)
        before = held(w)
        await w.join("idc", eci_label=True, generation=2)
        async with w.executor():
            outcome = await becomes(w, "conflict", generation=2)
            assert "is somebody else's" in outcome.message
            await w.join("idc", generation=3)
            await w.eventually(lambda: is_silent(w))
        assert held(w) == before


async def test_a_member_that_leaves_keeps_it(world: Any) -> None:
    async with world("idc", version=SERVES) as w, w.executor():
        await w.join("idc", eci_label=True, generation=2)
        await becomes(w, "applied", generation=2)
        await w.leave("idc")
        await w.eventually(lambda: is_silent(w))
        assert None not in held(w)


@pytest.mark.parametrize(("status", "result"), [(500, "applied"), (403, "failed")])
async def test_what_fails_for_a_moment_is_tried_again_and_what_is_refused_is_told(
    world: Any, status: int, result: str
) -> None:
    async with world("idc", version=SERVES) as w, w.executor():
        w.members["idc"].faults.answer(status, method="PATCH", path=admission.GROUP, times=1)
        await w.join("idc", eci_label=True, generation=2)
        await becomes(w, result, generation=2)
