"""Approving rollouts: once per member and action, only what is paused, and everybody who asked is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from services.executor.core import rollouts
from shared.contracts import subjects
from shared.contracts.action import Acted, Action
from shared.contracts.base import JsonObject
from shared.contracts.outcome import Rejected
from shared.contracts.placement import Share
from shared.contracts.refs import ObjectRef
from shared.kube import MemberClient
from simulator import objects
from simulator.controllers import kruise_rollout
from simulator.store import Change


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No controller acts on approvals here."""
    monkeypatch.setattr("services.executor.rollouts.SETTLES", 0.2)


REF = ObjectRef(group="rollouts.kruise.io", version="v1beta1", kind="Rollout", namespace="demo", name="qwen")
NOT_PAUSED = "does not allow to approve, because current canary state is not 'StepPaused'"


def rollout(style: str = "canary") -> JsonObject:
    return {
        "apiVersion": "rollouts.kruise.io/v1beta1",
        "kind": "Rollout",
        "metadata": {"name": "qwen", "namespace": "demo"},
        "spec": {
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "qwen"},
            "strategy": {style: {"steps": [{"replicas": "10%"}, {"replicas": "50%"}, {"replicas": "100%"}]}},
        },
    }


def progressing(step: int, state: str, phase: str = "Progressing") -> JsonObject:
    return {"phase": phase, "canaryStatus": {"currentStepIndex": step, "currentStepState": state}}


class TestCore:
    @pytest.mark.parametrize(("style", "holder"), [("canary", "canaryStatus"), ("blueGreen", "blueGreenStatus")])
    def test_a_paused_step_can_be_approved(self, style: str, holder: str) -> None:
        status = {"phase": "Progressing", holder: {"currentStepIndex": 2, "currentStepState": "StepPaused"}}
        live = {**rollout(style), "metadata": {"resourceVersion": "7"}, "status": status}
        assert rollouts.refusal(live) is None
        assert rollouts.approval(rollouts.step_of(live)) == {
            "metadata": {"resourceVersion": "7"},
            "status": {holder: {"currentStepState": "StepReady"}},
        }

    @pytest.mark.parametrize(
        ("state", "code"),
        [("StepUpgrade", "NotYetPaused"), ("StepReady", "NotPaused"), ("Completed", "NotPaused"), ("", "NotPaused")],
    )
    def test_nothing_else_can(self, state: str, code: str) -> None:
        live = {**rollout(), "status": progressing(1, state)}
        assert rollouts.refusal(live) == (code, NOT_PAUSED)

    @pytest.mark.parametrize("state", ["StepPaused", "StepUpgrade"])
    @pytest.mark.parametrize("phase", ["Healthy", "Disabled"])
    def test_one_that_was_undone_or_switched_off_waits_for_nobody(self, phase: str, state: str) -> None:
        code, why = rollouts.refusal({**rollout(), "status": progressing(1, state, phase)}) or ("", "")
        assert code == "NotPaused"
        assert why == (f"nothing waits for an approval: it is {phase}" if state == "StepPaused" else NOT_PAUSED)

    def test_a_rollout_that_has_no_status_yet(self) -> None:
        assert rollouts.refusal(rollout()) == ("NotPaused", NOT_PAUSED)


class Fleet:
    """Rollouts in members that stand where a test puts them, since Kruise's own controller is halted."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.said: list[Acted] = []

    async def start(self, *members: str) -> None:
        for member in members:
            self.world.members[member].queue.register(kruise_rollout.NAME, lambda key: None)
        placement = await self.world.place(rollout(), *[Share(member=name) for name in members], whole=True)
        await self.world.desire(rollout(), revision=0)
        for member in members:
            await self.world.said(member, placement, "applied")
            await self.stand(member, 1, "StepPaused")

    @asynccontextmanager
    async def _client(self, member: str) -> AsyncIterator[MemberClient]:
        path = self.world.settings.kubeconfig
        async with MemberClient.connect(member=member, context=member, kubeconfig=path) as client:
            yield client

    async def stand(self, member: str, step: int, state: str) -> None:
        status = {"status": progressing(step, state)}
        async with self._client(member) as client:
            await client.merge_patch(REF, status, subresource="status")

    async def state(self, member: str) -> str:
        async with self._client(member) as client:
            live: Any = await client.get(REF)
            return str(live["status"]["canaryStatus"]["currentStepState"])

    async def ask(self, *members: str, **fields: Any) -> list[Acted]:
        """Publish an action and wait for all that is said of it."""
        given = {"id": "one", "verb": "approve", "ref": REF, "members": members, "who": "ada", **fields}
        action = Action(reply=subjects.acting(given["id"]), asked_at=1.0, **given)
        said: list[Acted] = []
        ended = anyio.Event()

        async def hear(message: Any) -> bytes:
            said.append(Acted.decode(message.data))
            if said[-1].last:
                ended.set()
            return b""

        async with anyio.create_task_group() as group:
            serving = anyio.Event()
            group.start_soon(lambda: self.world.bus.serve(action.reply, hear, on_serving=serving.set))
            await serving.wait()
            await self.world.bus.publish(subjects.action("executor", "approve"), action.encode())
            with anyio.fail_after(30):
                await ended.wait()
            group.cancel_scope.cancel()
        return sorted((one for one in said if one.member or not one.done), key=lambda one: one.member)

    async def kept(self, action: str, member: str) -> Acted:
        """What the stream says of it."""
        message = await self.world.bus.last("ACTED", subjects.acted(action, member))
        return Acted.decode(message.data)

    def events(self, member: str) -> list[str]:
        found = self.world.members[member].store.every("events")
        return [event["message"] for event in found if event["reason"] == "Approved"]


async def test_every_member_is_tried_and_told_of(world: Any) -> None:
    async with world("idc", "cloud") as w, w.executor():
        fleet = Fleet(w)
        await fleet.start("idc", "cloud")
        await fleet.stand("cloud", 1, "StepUpgrade")
        cloud, idc = await fleet.ask()
        assert (idc.done, idc.message) == (True, "step 1 of 3 approved")
        assert (cloud.done, cloud.code, cloud.message) == (False, "NotYetPaused", NOT_PAUSED)
        assert await fleet.state("idc") == "StepReady"
        assert await fleet.state("cloud") == "StepUpgrade"


async def test_an_approval_that_the_controller_wrote_over_is_given_again(world: Any) -> None:
    async with world("idc") as w, w.executor():
        fleet = Fleet(w)
        await fleet.start("idc")
        store, written = w.members["idc"].store, []

        def forget(change: Change) -> None:
            if objects.status(change.object)["canaryStatus"]["currentStepState"] == "StepReady":
                written.append(change.object)
                if len(written) == 1:
                    stale = {**change.object, "status": progressing(1, "StepPaused")}
                    store.update("rollouts.rollouts.kruise.io", stale)

        store.subscribe(forget, "rollouts.rollouts.kruise.io")
        (idc,) = await fleet.ask("idc")
        assert (idc.done, idc.message) == (True, "step 1 of 3 approved")
        assert (await fleet.state("idc"), len(written)) == ("StepReady", 2)
        assert fleet.events("idc") == ["step 1 of 3 approved by ada"]


async def test_who_did_it_is_in_the_events(world: Any) -> None:
    async with world() as w, w.executor():
        fleet = Fleet(w)
        await fleet.start("idc")
        await fleet.ask()
        assert fleet.events("idc") == ["step 1 of 3 approved by ada"]


async def test_a_doubled_message_does_not_approve_the_next_step(world: Any) -> None:
    async with world() as w, w.executor():
        fleet = Fleet(w)
        await fleet.start("idc")
        await fleet.ask()
        await fleet.stand("idc", 2, "StepPaused")
        (again,) = await fleet.ask()
        assert again.done
        assert await fleet.state("idc") == "StepPaused"
        (other,) = await fleet.ask(id="two")
        assert (other.done, await fleet.state("idc")) == (True, "StepReady")


async def test_one_member_alone(world: Any) -> None:
    async with world("idc", "cloud") as w, w.executor():
        fleet = Fleet(w)
        await fleet.start("idc", "cloud")
        (acted,) = await fleet.ask("cloud")
        assert (acted.member, acted.done) == ("cloud", True)
        assert await fleet.state("idc") == "StepPaused"


async def test_an_unknown_member_and_an_unknown_rollout(world: Any) -> None:
    async with world() as w, w.executor():
        fleet = Fleet(w)
        await fleet.start("idc")
        idc, moon = await fleet.ask("idc", "moon")
        assert (idc.done, moon.done, moon.code) == (True, False, "NotFound")
        (nobody,) = await fleet.ask(id="two", ref=REF.model_copy(update={"name": "other"}))
        assert (nobody.done, nobody.code) == (False, "NotFound")


async def test_what_the_executor_cannot_do_is_said(world: Any) -> None:
    async with world() as w, w.executor():
        (acted,) = await Fleet(w).ask(
            ref=REF.model_copy(update={"group": "apps", "version": "v1", "kind": "Deployment"})
        )
        assert (acted.done, acted.code) == (False, "NotSupported")


async def test_a_member_that_is_away_is_told_of_and_caught_up_only_if_asked_for(world: Any, eventually: Any) -> None:
    async with world() as w, w.executor():
        fleet = Fleet(w)
        await fleet.start("idc")
        rule = w.members["idc"].faults.answer(503, path="/rollouts/")
        (acted,) = await fleet.ask()
        assert (acted.done, acted.member) == (False, "idc")
        await eventually(lambda: _is_empty(w))
        (acted,) = await fleet.ask(id="two", catch_up=True)
        assert (acted.done, acted.code) == (False, "CatchingUp")
        assert "it is approved when it is back" in acted.message
        w.members["idc"].faults.clear(rule)
        await eventually(lambda: _is_empty(w))
        assert await fleet.state("idc") == "StepReady"
        kept = await fleet.kept("two", "idc")
        assert (kept.done, kept.message, kept.who) == (True, "step 1 of 3 approved", "ada")


async def test_a_member_that_comes_back_is_approved_once_it_pauses(world: Any, eventually: Any) -> None:
    """It missed the new version as well: it is on its way to the step that the approval was about."""
    async with world("idc", "cloud") as w, w.executor():
        fleet = Fleet(w)
        await fleet.start("idc", "cloud")
        rule = w.members["idc"].faults.answer(503, path="/rollouts/")
        await fleet.ask(catch_up=True)
        w.members["idc"].faults.clear(rule)
        await fleet.stand("idc", 1, "StepUpgrade")
        await fleet.stand("cloud", 2, "StepPaused")
        told = (await w.bus.stream_info("ACTED")).last_sequence

        async def tried_again() -> bool:
            return bool((await w.bus.stream_info("ACTED")).last_sequence > told)

        await eventually(tried_again)
        await fleet.stand("idc", 1, "StepPaused")
        await eventually(lambda: _is_empty(w))
        assert await fleet.state("idc") == "StepReady"
        assert await fleet.state("cloud") == "StepPaused", "it had its approval"


async def test_what_was_done_is_kept_with_who_did_it(world: Any) -> None:
    async with world("idc", "cloud") as w, w.executor():
        fleet = Fleet(w)
        await fleet.start("idc", "cloud")
        await fleet.stand("cloud", 1, "StepReady")
        await fleet.ask()
        idc, cloud = await fleet.kept("one", "idc"), await fleet.kept("one", "cloud")
        assert (idc.done, idc.verb, idc.ref, idc.who) == (True, "approve", REF, "ada")
        assert (cloud.done, cloud.code, cloud.who) == (False, "NotPaused", "ada")


async def test_where_it_is_being_removed_nothing_is_approved(world: Any) -> None:
    async with world("idc", "cloud") as w, w.executor():
        fleet = Fleet(w)
        await fleet.start("idc", "cloud")
        rule = w.members["cloud"].faults.answer(503, path="/rollouts/")
        shares = [Share(member="idc"), Share(member="cloud", present=False)]
        placement = await w.place(rollout(), *shares, whole=True)
        await w.said("cloud", placement, "retrying")
        (acted,) = await fleet.ask()
        assert (acted.member, acted.done) == ("idc", True)
        w.members["cloud"].faults.clear(rule)


async def test_a_broken_action_lands_in_rejected(world: Any, eventually: Any) -> None:
    async with world() as w, w.executor():
        await w.bus.publish(subjects.action("executor", "approve"), b"{}")
        await eventually(lambda: _is_empty(w))
        (message,) = await w.bus.history("REJECTED", "brim.rejected.executor")
        assert Rejected.decode(message.data).service == "executor"


async def _is_empty(w: Any) -> bool:
    return bool((await w.bus.stream_info("ACTION")).messages == 0)
