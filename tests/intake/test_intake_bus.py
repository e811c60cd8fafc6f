"""The intake over a real nats-server: requests, durable submissions, fences and redeliveries."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import anyio

from services.scheduler.intake.intake import SUBMISSION, Intake
from services.scheduler.intake.known import Known
from services.scheduler.metrics import SchedulerMetrics
from shared.bus import Bus, Message
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.desired import Desired, Revision
from shared.contracts.outcome import Rejected
from shared.contracts.refs import ObjectRef
from shared.contracts.submit import Answer, Cordon, Delete, Scale
from shared.errors import BusUnavailable
from shared.metrics import Metrics

Eventually = Callable[[Callable[[], object]], Awaitable[None]]

WEB = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="default", name="web")
CLUSTER = "{apiVersion: brim.dev/v1alpha1, kind: Cluster, metadata: {name: idc}, spec: {kubeconfig: {context: idc}}}"


def web(replicas: int = 3, image: str = "a") -> str:
    return (
        f"{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web}}, spec: {{replicas: {replicas}, "
        "selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}},"
        f" spec: {{containers: [{{name: c, image: {image}}}]}}}}}}}}"
    )


class Desk:
    """An intake on the bus, and what it handed on."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.known = Known()
        self.stored: list[tuple[Desired, Mapping[str, str]]] = []
        self.intake = Intake(
            bus,
            Clock(),
            self.known,
            epoch=3,
            on_stored=lambda desired, headers: self.stored.append((desired, headers)),
            preserves=lambda _: False,
            advise=lambda sound: {checked.ref.key: ("think twice",) for checked in sound},
            is_rolling=lambda _key: False,
            has_revision=lambda _uid, _number: True,
            before=lambda _desired: 0,
            held_uid=lambda _key: "",
            held_in=lambda _member: 0,
            metrics=SchedulerMetrics(Metrics("scheduler")),
        )

    async def ask(self, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> Answer:
        return Answer.decode(await self.bus.request(subject, payload, headers=headers))

    async def apply(self, text: str) -> Answer:
        return await self.ask(subjects.APPLY, text.encode())

    async def desired(self, ref: ObjectRef = WEB) -> Desired | None:
        message = await self.bus.last("DESIRED", subjects.desired(ref))
        return None if message is None or message.removed else Desired.decode(message.data)

    async def rejected(self) -> list[Rejected]:
        messages = await self.bus.history("REJECTED", subjects.rejected("scheduler"))
        return [Rejected.decode(message.data) for message in messages]


@asynccontextmanager
async def desk(bus: Bus) -> AsyncIterator[Desk]:
    """A running intake; it serves once it answers."""
    at_work = Desk(bus)
    async with anyio.create_task_group() as group:
        group.start_soon(at_work.intake.run)
        with anyio.fail_after(10):
            while not await _serves(bus):
                pass
        yield at_work
        group.cancel_scope.cancel()


async def _serves(bus: Bus) -> bool:
    try:
        for subject in (subjects.APPLY, subjects.DELETE, subjects.SCALE, subjects.CORDON):
            await bus.request(subject, b"", timeout=1.0)
    except BusUnavailable:
        return False
    return True


async def test_a_request_answers_with_what_was_accepted(bus: Bus) -> None:
    async with desk(bus) as at:
        answer = await at.apply(web() + "\n---\n{apiVersion: v1, kind: Service, metadata: {name: web}}")
        assert [(str(one.ref), one.change, one.warnings) for one in answer.accepted] == [
            ("Deployment default/web", "created", ("think twice",)),
            ("Service default/web", "created", ("think twice",)),
        ]
        stored = await at.desired()
        assert stored is not None
        assert (stored.uid, stored.order.epoch) == (answer.accepted[0].uid, 3)
        assert [desired.ref.kind for desired, _ in at.stored] == ["Deployment", "Service"]


async def test_a_bad_request_answers_with_faults_and_stores_nothing(bus: Bus) -> None:
    async with desk(bus) as at:
        answer = await at.apply(web() + "\n---\n" + web().replace("name: web}", "name: WEB}"))
        assert answer.accepted == ()
        assert [(fault.object, fault.field) for fault in answer.faults] == [
            ("Deployment WEB", "metadata.name"),
        ]
        assert await at.desired() is None


async def test_a_broken_envelope_is_answered_and_not_dropped(bus: Bus) -> None:
    async with desk(bus) as at:
        for subject in (subjects.DELETE, subjects.SCALE, subjects.CORDON):
            assert (await at.ask(subject, b"\x00 not json")).faults
        beyond = {"ref": WEB.model_dump(), "replicas": 1_000_001}
        answer = await at.ask(subjects.SCALE, json.dumps(beyond).encode())
        assert [fault.field for fault in answer.faults] == ["replicas"]


async def test_scale_delete_and_cordon_by_request(bus: Bus) -> None:
    async with desk(bus) as at:
        await at.apply(web() + "\n---\n" + CLUSTER)
        scaled = await at.ask(subjects.SCALE, Scale(ref=WEB, replicas=7).encode())
        assert [one.change for one in scaled.accepted] == ["scaled"]
        drained = await at.ask(subjects.CORDON, Cordon(member="idc", wish="drained").encode())
        assert [one.change for one in drained.accepted] == ["drained"]
        deleted = await at.ask(subjects.DELETE, Delete(refs=(WEB,)).encode())
        assert [one.change for one in deleted.accepted] == ["deleted"]
        stored = await at.desired()
        assert stored is not None
        assert stored.deleted is not None


async def test_a_superseded_template_is_stored_before_the_new_one(bus: Bus) -> None:
    async with desk(bus) as at:
        await at.apply(web(image="a"))
        await at.apply(web(image="b"))
        stored = await at.desired()
        assert stored is not None
        assert stored.revision == 2
        message = await bus.last("REVISION", subjects.revision(stored.uid, 1))
        assert message is not None
        assert "'image': 'a'" in str(Revision.decode(message.data).manifest)


async def test_submissions_are_durable_and_refusals_land_in_rejected(bus: Bus, eventually: Eventually) -> None:
    await bus.publish(subjects.submit("apply"), web().encode())
    await bus.publish(subjects.submit("apply"), b"a: [")
    await bus.publish(subjects.submit("scale"), Scale(ref=WEB, replicas=-0).encode())
    await bus.publish(subjects.submit("cordon"), Cordon(member="moon", wish="open").encode())
    await bus.publish(subjects.submit("dance"), b"{}")
    async with desk(bus) as at:

        async def all_done() -> bool:
            return len(await at.rejected()) == 3 and (await bus.stream_info("SUBMIT")).messages == 0

        await eventually(all_done)
        faults = {str(one.subject): [fault.code for fault in one.faults] for one in await at.rejected()}
        assert faults == {
            "brim.submit.apply": ["Malformed"],
            "brim.submit.cordon": ["NotFound"],
            "brim.submit.dance": ["Invalid"],
        }
        stored = await at.desired()
        assert stored is not None
        assert stored.manifest["spec"]["replicas"] == 0  # type: ignore[index, call-overload]


async def test_no_excerpt_of_a_secret(bus: Bus, eventually: Eventually) -> None:
    await bus.publish(subjects.submit("apply"), b"{kind: Secret, stringData: {password: hunter2}, metadata: {}}")
    await bus.publish(subjects.submit("apply"), b"{kind: ConfigMap, metadata: {}}")
    async with desk(bus) as at:

        async def both() -> bool:
            return len(await at.rejected()) == 2

        await eventually(both)
        assert sorted(one.excerpt for one in await at.rejected()) == ["", "{kind: ConfigMap, metadata: {}}"]
        assert "hunter2" not in str(await at.rejected())


async def test_a_writer_in_between_is_noticed_by_the_fence(bus: Bus) -> None:
    async with desk(bus) as at:
        await at.apply(web(replicas=1))
        behind = at.known.get(WEB.key)
        assert behind is not None
        other = behind.desired.model_copy(update={"generation": 9})
        await bus.publish(subjects.desired(WEB), other.encode())
        answer = await at.apply(web(replicas=5))
        assert [(one.change, one.generation) for one in answer.accepted] == [("configured", 10)]


async def test_a_redelivered_submission_does_not_undo_what_came_after_it(bus: Bus, eventually: Eventually) -> None:
    sequence = await bus.publish(subjects.submit("apply"), web(replicas=1).encode())
    async with desk(bus) as at:

        async def applied() -> bool:
            return await at.desired() is not None

        await eventually(applied)
        message = (await bus.history("DESIRED", subjects.desired(WEB)))[0]
        assert message.headers[SUBMISSION].startswith(f"{sequence}@")
        await at.ask(subjects.SCALE, Scale(ref=WEB, replicas=6).encode())
        published_at = float(message.headers[SUBMISSION].partition("@")[2])
        again = _delivered_again(sequence, published_at, web(replicas=1).encode())
        await at.intake.take(again)
        stored = await at.desired()
        assert stored is not None
        assert stored.manifest["spec"]["replicas"] == 6  # type: ignore[index, call-overload]


def _delivered_again(sequence: int, published_at: float, data: bytes) -> Message:
    return Message("brim.submit.apply", data, sequence, {}, 2, published_at)


async def test_a_new_object_waits_until_the_old_one_is_gone(bus: Bus, eventually: Eventually) -> None:
    async with desk(bus) as at:
        await at.apply(web())
        await at.ask(subjects.DELETE, Delete(refs=(WEB,)).encode())
        await bus.publish(subjects.submit("apply"), web().encode())
        entry = at.known.get(WEB.key)
        assert entry is not None
        gone = await bus.remove(subjects.desired(WEB), expected_last_sequence=entry.sequence)
        at.known.remove(WEB.key, gone)

        async def back() -> bool:
            stored = await at.desired()
            return stored is not None and stored.uid != entry.desired.uid

        await eventually(back)
        assert await at.rejected() == []


async def test_many_requests_about_one_object_at_once_are_all_carried_out(bus: Bus) -> None:
    async with desk(bus) as at:
        await at.apply(web(replicas=0))
        answers: list[Answer] = []

        async def scale(replicas: int) -> None:
            answers.append(await at.ask(subjects.SCALE, Scale(ref=WEB, replicas=replicas).encode()))

        async with anyio.create_task_group() as group:
            for replicas in range(1, 31):
                group.start_soon(scale, replicas)
        assert sorted(answer.accepted[0].generation for answer in answers) == list(range(2, 32))


async def test_the_trace_of_a_submission_goes_on_in_desired(bus: Bus) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with desk(bus) as at:
        await at.ask(subjects.APPLY, web().encode(), headers={"traceparent": parent})
        message = await bus.last("DESIRED", subjects.desired(WEB))
        assert message is not None
        assert message.headers["traceparent"] == parent
        assert at.stored[0][1]["traceparent"] == parent
