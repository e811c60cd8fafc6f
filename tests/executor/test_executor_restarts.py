"""Executors that die at any moment, look again, end cleanly; messages out of order."""

from __future__ import annotations

import random
from typing import Any

import pytest

from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.cluster import cluster_ref
from shared.contracts.refs import ObjectRef
from shared.kube import MemberClient
from shared.settings import ExecutorSettings
from tests.executor.conftest import UID
from tests.executor.samples import WEB, deployment, share


class TestResync:
    async def test_what_others_changed_is_mended(self, world: Any) -> None:
        async with world(settings=ExecutorSettings(resync=0.1, backoff_base=0.02)) as w, w.executor():
            await w.desire(WEB)
            await w.settled("idc", await w.place(WEB, share()))
            store = w.members["idc"].store
            live = w.live("idc", WEB)
            store.update("deployments.apps", {**live, "spec": {**live["spec"], "replicas": 7}})
            await w.eventually(lambda: w.live("idc", WEB)["spec"]["replicas"] == 2)
            store.remove("deployments.apps", "test", "web")
            await w.eventually(lambda: (w.live("idc", WEB) or {"spec": {"replicas": 0}})["spec"]["replicas"] == 2)

    async def test_a_look_at_what_is_right_writes_nothing(self, world: Any) -> None:
        async with world(settings=ExecutorSettings(resync=0.05)) as w, w.executor():
            await w.desire(WEB)
            await w.settled("idc", await w.place(WEB, share()))
            with w.requests("idc") as requests:
                await w.eventually(lambda: len(requests.of("web")) > 3)
                assert set(requests.of("web")) == {"GET"}

    @pytest.mark.parametrize("restart", [False, True], ids=["while it runs", "while nobody looks"])
    async def test_a_template_that_others_changed_is_mended(self, world: Any, restart: bool) -> None:
        """Also by a process that never saw what brim left there."""
        async with world(settings=ExecutorSettings(resync=0.1, backoff_base=0.02)) as w:
            async with w.executor():
                await w.desire(WEB)
                await w.settled("idc", await w.place(WEB, share()))
                if not restart:
                    await self._edit(w, "evil:1")
                    await w.eventually(lambda: self._image(w) == "web:1")
            await self._edit(w, "evil:2")
            assert self._image(w) == "evil:2"
            async with w.executor():
                await w.eventually(lambda: self._image(w) == "web:1")
                assert w.live("idc", WEB)["spec"]["replicas"] == 2

    @staticmethod
    def _image(w: Any) -> str:
        return str(w.live("idc", WEB)["spec"]["template"]["spec"]["containers"][0]["image"])

    @staticmethod
    async def _edit(w: Any, image: str) -> None:
        """As `kubectl edit` does."""
        member = MemberClient.connect(member="idc", context="idc", kubeconfig=w.settings.kubeconfig)
        async with member as client:
            containers = {"containers": [{"name": "web", "image": image}]}
            patch: JsonObject = {"spec": {"template": {"spec": containers}}}
            await client.strategic_patch(ObjectRef.of(WEB), patch, manager="kubectl-edit")


class TestRestart:
    async def test_what_was_carried_out_is_not_sent_again(self, world: Any) -> None:
        async with world(settings=ExecutorSettings(resync=86400)) as w:
            async with w.executor():
                await w.desire(WEB)
                await w.settled("idc", await w.place(WEB, share()))
            with w.requests("idc") as requests:
                async with w.executor():
                    marker = deployment("marker")
                    await w.desire(marker)
                    await w.said("idc", await w.place(marker, share()), "applied")
                assert requests.of("web") == []

    async def test_what_was_missed_is_done(self, world: Any) -> None:
        async with world() as w:
            async with w.executor():
                await w.desire(WEB)
                await w.settled("idc", await w.place(WEB, share()))
            placed = await w.place(WEB, share(replicas=5))
            async with w.executor():
                await w.said("idc", placed, "applied")
                assert w.live("idc", WEB)["spec"]["replicas"] == 5

    @pytest.mark.parametrize("cut", range(1, 4))
    async def test_between_any_two_writes_of_a_creation_the_count_stays(self, world: Any, cut: int) -> None:
        """The member stops answering writes after the first, second, third: another process takes over then."""
        async with world() as w:
            idc, counts = w.members["idc"], set()
            idc.store.subscribe(lambda change: counts.add(change.object["spec"]["replicas"]), "deployments.apps")
            await w.desire(WEB)
            async with w.executor():
                with w.requests("idc") as requests:
                    idc.faults.answer(404, method="GET", path="/deployments/web", times=1)
                    placed = await w.place(WEB, share())
                    await w.eventually(lambda: requests.of("web").count("PATCH") >= cut)
                    idc.faults.answer(500, method="PATCH", path="/deployments/web")
            idc.faults.clear()
            async with w.executor():
                await w.said("idc", placed, "applied")
            assert counts == {2}

    async def test_in_the_middle_of_many_nothing_is_lost_or_doubled(self, world: Any) -> None:
        async with world("idc", "cloud") as w:
            placed = []
            async with w.executor():
                for number in range(30):
                    manifest = deployment(f"web-{number}")
                    await w.desire(manifest)
                    placed.append((manifest, await w.place(manifest, share("idc", 1), share("cloud", 1))))
            async with w.executor():
                for manifest, placement in placed:
                    for member in ("idc", "cloud"):
                        await w.said(member, placement, "applied")
                        assert w.live(member, manifest)["spec"]["replicas"] == 1

    async def test_a_second_executor_stands_by(self, world: Any) -> None:
        async with world() as w, w.executor() as first, w.executor(ready=False) as second:
            await w.desire(WEB)
            await w.settled("idc", await w.place(WEB, share()))
            assert (first.ready, second.ready) == (True, False)
            assert second.health.standing_by() == ["executor"]

    async def test_a_standby_takes_over_when_the_leader_ends(self, world: Any) -> None:
        async with world() as w, w.executor() as first, w.executor(ready=False) as second:
            first.scope.cancel()
            await w.eventually(lambda: second.ready)
            await w.desire(WEB)
            await w.settled("idc", await w.place(WEB, share()))


class TestShutdown:
    async def test_what_is_in_flight_is_waited_for_and_what_came_of_it_is_said(self, world: Any) -> None:
        async with world() as w:
            await w.desire(WEB)
            async with w.executor() as executing:
                with w.requests("idc") as requests:
                    hanging = w.members["idc"].faults.hang(method="PATCH", path="/deployments/web")
                    placed = await w.place(WEB, share())
                    await w.eventually(lambda: hanging.hits)
                    executing.scope.cancel()
                    await w.eventually(lambda: not executing.ready)
                    assert requests.of("web").count("PATCH") == 1
            outcome = await w.outcome("idc", WEB)
            assert (outcome.order, outcome.result) == (placed.order, "retrying")  # the member never answered


class TestMessages:
    async def test_doubled_delayed_and_reordered_placements_end_in_the_newest(self, world: Any) -> None:
        async with world() as w, w.executor():
            await w.desire(WEB)
            placements = [w.placement(WEB, share(replicas=number)) for number in range(1, 9)]
            disorder = placements * 2
            random.Random(7).shuffle(disorder)
            for placement in disorder:
                await w.publish(placement)
            await w.said("idc", placements[-1], "applied")
            assert w.live("idc", WEB)["spec"]["replicas"] == 8
            assert w.live("idc", WEB)["metadata"]["annotations"]["brim.dev/order"] == "1.8"

    async def test_rubbish_on_the_streams_hurts_nobody(self, world: Any) -> None:
        """Before an executor starts and while it works, on subjects of any form that the streams take."""
        bad = ObjectRef.of(deployment("bad"))
        spoiled = [
            subjects.placement(bad),
            subjects.desired(bad),
            subjects.desired(cluster_ref("nowhere")),
            subjects.desired(cluster_ref("idc")),
            subjects.outcome("idc", bad),
            subjects.revision(UID, 1),
            *(
                "brim.placement.a",
                "brim.placement.a.b.c",
                "brim.desired.a.b.c.d",
                "brim.outcome.a",
                "brim.revision.a.b.c",
            ),
        ]
        async with world() as w:
            for replicas in (1, 2):
                for subject in spoiled[4 if replicas == 1 else 0 :]:
                    for rubbish in (b"", b"{", b"{}", b"[]", b"\xff", b'{"version": 2}'):
                        await w.bus.publish(subject, rubbish)
                await w.join("idc")
                async with w.executor():
                    await w.desire(WEB)
                    await w.settled("idc", await w.place(WEB, share(replicas=replicas)))
                    for subject in spoiled:
                        await w.bus.publish(subject, b"rubbish")
                    await w.settled("idc", await w.place(WEB, share(replicas=5)))
                    assert w.metric("bad_messages_total") > 0

    async def test_a_template_that_cannot_be_read_is_told_and_the_next_is_applied(self, world: Any) -> None:
        async with world() as w, w.executor():
            await w.bus.publish(subjects.revision(UID, 1), b"{")
            await w.desire(WEB, revision=2, generation=2)
            outcome = await w.said("idc", await w.place(WEB, share(revision=1), generation=2), "failed")
            assert "revision" in outcome.message
            await w.settled("idc", await w.place(WEB, share(revision=2), generation=2))

    @pytest.mark.parametrize("what", ["lost", "rubbish", "late"])
    async def test_the_stream_is_compared_with_what_was_said(self, world: Any, what: str) -> None:
        """An outcome that was lost, or lies there wrongly, is said again though nothing changes in the member."""
        async with world(settings=ExecutorSettings(resync=0.2)) as w, w.executor():
            await w.desire(WEB)
            old = await w.settled("idc", await w.place(WEB, share()))
            placed = await w.place(WEB, share(replicas=3))
            await w.settled("idc", placed)
            subject = subjects.outcome("idc", placed.ref)
            match what:
                case "lost":
                    await w.bus.purge_subject("OUTCOME", subject)
                case "rubbish":
                    await w.bus.publish(subject, b"{")
                case "late":
                    await w.bus.publish(subject, old.encode())
            await w.said("idc", placed, "applied")

    async def test_an_outcome_of_nothing_that_is_placed_is_taken_away(self, world: Any) -> None:
        async with world(settings=ExecutorSettings(resync=0.1)) as w, w.executor():
            await w.desire(WEB)
            placed = await w.place(WEB, share())
            old = await w.settled("idc", placed)
            subject = subjects.outcome("idc", placed.ref)
            await w.bus.remove(subjects.placement(placed.ref))

            async def gone() -> bool:
                last = await w.bus.last("OUTCOME", subject)
                return last is None or last.removed

            await w.eventually(gone)
            await w.bus.publish(subject, old.encode())
            await w.eventually(gone)

    async def test_an_outcome_is_said_once(self, world: Any) -> None:
        async with world() as w, w.executor():
            await w.desire(WEB)
            placed = await w.place(WEB, share())
            await w.said("idc", placed, "applied")
            for _ in range(3):
                await w.publish(placed)
            marker = deployment("marker")
            await w.desire(marker)
            await w.said("idc", await w.place(marker, share()), "applied")
            assert w.metric("outcomes_total", member="idc") == 2
