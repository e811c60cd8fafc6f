"""A whole brim under test: a real nats-server, simulated members over HTTP, and the services, in this process.

    async with playing(tmp_path, "hybrid.yaml") as play:
        await play.apply("qwen3.yaml", "qwen3-hybrid-policies.yaml")
        await play.eventually(lambda: play.ready("test", "qwen3", "idc") == 2)
        await play.restart("scheduler")

What is true is asked of the members' own APIs (`play.observer`), never of brim.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from cli.demo.observer import DEPLOYMENTS, POOL_LABEL, Observer, is_unscheduled, replicas
from cli.demo.stage import Stage, staged
from cli.json_values import table_of, text
from cli.up import example
from shared import fleet as fleet_file
from shared.bus import Bus
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.desired import Desired
from shared.contracts.placement import Placement
from shared.contracts.refs import ObjectRef
from shared.contracts.submit import Answer, Plan, Planned, Scale
from shared.errors import BusUnavailable, Invalid
from shared.fleet import Delays, Fleet
from shared.settings import Settings

SPEED = 30.0  # fleet seconds per second
WAIT = 40.0  # real seconds until a condition counts as never met: only a machine at its limits comes near

# Fleet seconds. Nodes take their time, so that there is a middle in which things can go wrong.
QUICK = Delays(scale_up_trigger=4, node_create=8, node_ready=16, node_idle=60)

QWEN3 = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="test", name="qwen3")
WEB_DEMO = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="default", name="web-demo")


@dataclass(slots=True)
class Play:
    """A stage, with the questions that tests ask. wait: real seconds until a condition counts as never met."""

    stage: Stage
    folder: Path
    wait: float = WAIT

    @property
    def observer(self) -> Observer:
        return self.stage.observer

    @property
    def bus(self) -> Bus:
        return self.stage.bus

    # -- acting --------------------------------------------------------------------------------------------------

    async def apply(self, *examples: str) -> None:
        await self.stage.apply(*examples)

    async def submit(self, *manifests: JsonObject) -> Answer:
        """Ask the intake; faults are in the answer."""
        payload = json.dumps(list(manifests)).encode()
        return Answer.decode(await self.bus.request(subjects.APPLY, payload, timeout=10.0))

    async def scale(self, ref: ObjectRef, count: int) -> None:
        """As a durable submission, which needs nobody to be there just now."""
        await self.publish(subjects.submit("scale"), Scale(ref=ref, replicas=count).encode())

    async def publish(self, subject: str, payload: bytes) -> None:
        """Until it is stored: after a blow the server may still be starting."""
        with anyio.fail_after(self.wait):
            while True:
                try:
                    await self.bus.publish(subject, payload)
                except BusUnavailable:
                    await anyio.sleep(0.1)
                else:
                    return

    async def restart(self, service: str) -> None:
        """End a service as a signal would, and start it anew."""
        await self.stage.brim.stop(service)
        self.stage.brim.start(service)

    async def restart_bus(self, *, kill: bool = True) -> None:
        server = self.stage.brim.server
        assert server is not None
        await server.restart(kill=kill)

    # -- asking the members --------------------------------------------------------------------------------------

    def ready(self, namespace: str, app: str, member: str = "") -> int:
        return self.observer.ready(namespace, app, member)

    def held(self, namespace: str, app: str, member: str) -> int:
        """Pods of an app that are there and not leaving, Ready or not."""
        return len(self.observer.pods(namespace, app, member))

    def waiting(self, namespace: str, app: str, member: str) -> int:
        return sum(is_unscheduled(entry.manifest) for entry in self.observer.pods(namespace, app, member))

    def added_nodes(self, member: str) -> list[JsonObject]:
        """Those that its autoscaler added."""
        labels = (table_of(node, "metadata", "labels") for node in self.observer.nodes(member))
        return [entry for entry in labels if POOL_LABEL in entry]

    def asked(self, ref: ObjectRef) -> dict[str, int]:
        """Replicas that each member's own object asks for; members without the object are left out."""
        return {
            entry.member: replicas(entry.manifest)
            for entry in self.observer.objects(DEPLOYMENTS, ref.namespace)
            if text(entry.manifest, "metadata", "name") == ref.name
        }

    async def would_place(self, ref: ObjectRef, count: int) -> dict[str, tuple[int, int]]:
        """Replicas per member if the object were scaled to so many, and how many of them on nodes still to be added.

        Nothing while that counts on pods that are about to leave. Raises BusUnavailable while nobody can say.
        """
        last = await self.bus.last("DESIRED", subjects.desired(ref))
        assert last is not None
        manifest = Desired.decode(last.data).manifest
        spec = manifest["spec"]
        assert isinstance(spec, dict)
        question = Plan(manifests=json.dumps({**manifest, "spec": {**spec, "replicas": count}}))
        (planned,) = Planned.decode(await self.bus.request(subjects.PLAN, question.encode())).placements
        seen = planned.seen
        room = map(sum, zip(seen.free, seen.elastic, seen.virtual, strict=True))
        if any(given > there for given, there in zip(seen.given, room, strict=True)):
            return {}
        return {share.member: (share.replicas, share.elastic) for share in planned.shares}

    async def decided(self, ref: ObjectRef, condition: Callable[[Placement], bool]) -> Placement:
        """Wait until one of an object's placements, in force or superseded, is so."""
        with anyio.move_on_after(self.wait):
            while True:
                try:
                    messages = await self.bus.history("PLACEMENT", subjects.placement(ref))
                except BusUnavailable:
                    messages = []
                for message in messages:
                    if not message.removed and condition(placement := Placement.decode(message.data)):
                        return placement
                await anyio.sleep(0.02)
        pytest.fail(f"{ref} was never placed so\n{await self.decisions()}")

    async def has_room(self, ref: ObjectRef, wanted: dict[str, tuple[int, int]]) -> None:
        """Wait until the scheduler would place it so: what left a moment ago has given its room back.

        wanted: per member the replicas, and how many of them on nodes still to be added.
        """
        found: dict[str, tuple[int, int]] = {}
        with anyio.move_on_after(self.wait):
            while found != wanted:
                try:
                    found = await self.would_place(ref, sum(replicas for replicas, _ in wanted.values()))
                except BusUnavailable:
                    await anyio.sleep(0.1)
                await anyio.sleep(0.02)
        assert found == wanted, await self.decisions()

    async def waits(self, stream: str, subject: str, count: int) -> None:
        """Wait until so many messages of a work queue are there for somebody to carry out."""
        found = 0
        with anyio.move_on_after(self.wait):
            while found < count:
                found = len(await self.bus.waiting(stream, subject))
                await anyio.sleep(0.02)
        assert found >= count, f"{found} messages on {subject}"

    async def eventually(self, condition: Callable[[], bool], what: str = "", timeout: float | None = None) -> None:
        if not await self.observer.until(condition, timeout or self.wait):
            pytest.fail(f"never seen: {what or condition}\n{self.picture()}\n{await self.decisions()}")

    async def settles(self, *conditions: Callable[[], bool], fleet_seconds: float = 60.0) -> None:
        """The conditions come true, and stay true at every change for so long."""
        for condition in conditions:
            await self.eventually(condition)
        broken: list[int] = []
        gauge = self._gauge(conditions, broken)
        self.observer.gauges.append(gauge)
        await self.stage.clock.sleep(fleet_seconds)
        self.observer.gauges.remove(gauge)
        if broken:
            pytest.fail(f"did not stay: condition {broken[0]}\n{self.picture()}\n{await self.decisions()}")

    @staticmethod
    def _gauge(conditions: Sequence[Callable[[], bool]], broken: list[int]) -> Callable[[], None]:
        def look() -> None:
            broken.extend(number for number, condition in enumerate(conditions) if not condition())

        return look

    # -- for the reader of a failure -----------------------------------------------------------------------------

    def picture(self) -> str:
        """Pods and deployments of all members in a few lines."""
        lines = []
        for member in self.observer.clients:
            for entry in self.observer.objects(DEPLOYMENTS, member=member):
                name = text(entry.manifest, "metadata", "name")
                lines.append(f"{member} deployment/{name} spec.replicas={replicas(entry.manifest)}")
            for namespace, app in (("test", "qwen3"), ("default", "web-demo")):
                for entry in self.observer.pods(namespace, app, member):
                    node = text(entry.manifest, "spec", "nodeName") or "unscheduled"
                    lines.append(f"{member} pod/{text(entry.manifest, 'metadata', 'name')} {node}")
        return "\n".join(lines)

    async def decisions(self) -> str:
        """The history of placements, oldest first."""
        messages = await self.bus.history("PLACEMENT", "brim.placement.>")
        placements: list[Placement] = []
        for message in messages:
            with suppress(Invalid):  # a test's rubbish
                placements += [] if message.removed else [Placement.decode(message.data)]
        return "\n".join(
            f"{entry.ref} {entry.order} {entry.cause} wanted={entry.wanted} pending={entry.pending} "
            f"{[(s.member, s.replicas, s.elastic, s.retiring, s.present) for s in entry.shares]} "
            f"{[reason.message for reason in entry.reasons]}"
            for entry in placements
        )


def example_fleet(name: str, delays: Delays = QUICK) -> Fleet:
    """A packaged fleet whose clouds are in more of a hurry."""
    fleet = fleet_file.parse(example(name), source=name)
    members = [
        member.model_copy(update={"simulated": member.simulated.model_copy(update={"delays": delays})})
        for member in fleet.members
        if member.simulated is not None
    ]
    return fleet.model_copy(update={"members": tuple(members)})


@asynccontextmanager
async def playing(
    folder: Path, fleet: str | Fleet, *, speed: float = SPEED, settings: Settings | None = None
) -> AsyncIterator[Play]:
    """Everything up and ready, and everything gone afterwards."""
    chosen = example_fleet(fleet) if isinstance(fleet, str) else fleet
    async with staged(settings or Settings(), chosen, folder, Clock(speed=speed), say=lambda _: None) as stage:
        yield Play(stage, folder)


class Census:
    """Counts that must hold at every single change, looked at whenever a member says something new."""

    def __init__(self, play: Play) -> None:
        self._play = play
        self._extremes: dict[str, tuple[int, int]] = {}
        self._gauges: list[Callable[[], None]] = []
        self.pods: set[tuple[str, str]] = set()

    def follow(self, name: str, count: Callable[[], int]) -> None:
        """Keep the least and the greatest value of a count."""
        first = count()
        self._extremes[name] = (first, first)

        def look() -> None:
            now = count()
            least, most = self._extremes[name]
            self._extremes[name] = (min(least, now), max(most, now))

        self._add(look)

    def remember_pods(self, namespace: str, app: str) -> None:
        """Every pod of an app that was ever seen, as (member, name)."""

        def look() -> None:
            for entry in self._play.observer.pods(namespace, app):
                self.pods.add((entry.member, text(entry.manifest, "metadata", "name")))

        look()
        self._add(look)

    def least(self, name: str) -> int:
        return self._extremes[name][0]

    def most(self, name: str) -> int:
        return self._extremes[name][1]

    def _add(self, gauge: Callable[[], None]) -> None:
        self._gauges.append(gauge)
        self._play.observer.gauges.append(gauge)

    def close(self) -> None:
        for gauge in self._gauges:
            self._play.observer.gauges.remove(gauge)
        self._gauges.clear()


def reference(app: str) -> ObjectRef:
    return ObjectRef(group="apps", version="v1", kind="Deployment", namespace="default", name=app)


def web(app: str, *, replicas: int = 4, members: tuple[str, ...] = ("idc", "ack")) -> tuple[JsonObject, JsonObject]:
    """A small deployment, and the policy that divides it by the members' room."""
    labels: JsonObject = {"app": app}
    container: JsonObject = {"name": "web", "image": "nginx:1.29", "resources": {"requests": {"cpu": "500m"}}}
    return (
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": app, "namespace": "default"},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        },
        {
            "apiVersion": "policy.one.alibabacloud.com/v1alpha1",
            "kind": "PropagationPolicy",
            "metadata": {"name": app, "namespace": "default"},
            "spec": {
                "resourceSelectors": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": app}],
                "placement": {
                    "clusterAffinity": {"clusterNames": list(members)},
                    "replicaScheduling": {
                        "replicaSchedulingType": "Divided",
                        "replicaDivisionPreference": "Weighted",
                        "weightPreference": {"dynamicWeight": "AvailableReplicas"},
                    },
                },
            },
        },
    )
