"""The stage on which scenarios are played: a whole brim, an observer, and a narrator."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from cli import acting, colours, manifests
from cli.colours import style
from cli.demo import patience
from cli.demo.observer import DEPLOYMENTS, Observer, observing
from cli.json_values import text
from cli.running import Brim, join_members, run_brim
from cli.session import raise_faults
from cli.tables import Table, member_table, render
from cli.up import example
from shared.bus import Bus
from shared.clock import Clock, rfc3339
from shared.contracts import subjects
from shared.contracts.action import Action
from shared.contracts.base import JsonObject
from shared.contracts.refs import ObjectRef
from shared.contracts.status import Status
from shared.contracts.submit import Answer, Roll, Scale
from shared.errors import BrimError, Refused
from shared.fleet import Fleet
from shared.kube import NODES, PODS, Resource
from shared.settings import Settings

SEEN = 60.0  # real seconds until a step that is not seen counts as failed
ANSWER = 10.0  # real seconds for the intake's answer


class NotSeen(BrimError):
    """A step of the story did not happen in time."""

    code = "NotSeen"


@dataclass(slots=True)
class Stage:
    """seen: what was seen so far, as (what, after so many fleet seconds). say: prints a line. patience: how many times
    as long as usual a step may take."""

    brim: Brim
    bus: Bus
    observer: Observer
    say: Callable[[str], None]
    patience: float = 1.0
    seen: list[tuple[str, float]] = field(default_factory=list)

    @property
    def clock(self) -> Clock:
        return self.brim.clock

    # -- telling -------------------------------------------------------------------------------------------------

    def step(self, title: str) -> None:
        self.say("")
        self.say(style(f"== {title}", bold=True))

    def show(self, resource: Resource, namespace: str = "", *, wide: bool = False) -> None:
        """A table of the members' own objects, as `brim get … -M` prints it."""
        command = f"brim get {resource.plural}" + (f" -n {namespace}" if namespace else "") + " -M"
        found = self.observer.objects(resource, namespace)
        self.say(style(f"$ {command}", dim=True))
        self.say(render(member_table(str(resource), found, self.clock.now(), wide=wide), paint=colours.cell))

    def show_pods(self, namespace: str, *, wide: bool = False) -> None:
        self.show(PODS, namespace, wide=wide)

    def show_instances(self, namespace: str) -> None:
        """What is paid by the second."""
        found = self.observer.instances(namespace)
        rows = [
            (
                text(entry.manifest, "metadata", "name"),
                entry.member,
                text(entry.manifest, "spec", "size"),
                text(entry.manifest, "spec", "podName"),
            )
            for entry in found
        ]
        self.say(render(Table(("INSTANCE", "CLUSTER", "SIZE", "POD"), tuple(rows))))

    def show_nodes(self) -> None:
        self.show(NODES)

    def show_deployments(self, namespace: str) -> None:
        self.show(DEPLOYMENTS, namespace)

    async def see(self, what: str, condition: Callable[[], bool], timeout: float = SEEN) -> None:
        """Wait until the members show something. Raises NotSeen after `timeout` real seconds, times the patience."""
        begun, timeout = time.monotonic(), timeout * self.patience
        async with anyio.create_task_group() as group:
            group.start_soon(patience.tell, what, self.clock, sys.stdout, self.say)
            seen = await self.observer.until(condition, timeout)
            group.cancel_scope.cancel()
        if not seen:
            raise NotSeen(f"not seen within {timeout:g} s: {what}")
        took = (time.monotonic() - begun) * self.clock.speed
        self.seen.append((what, took))
        self.say(style("  ✓ ", fg="green") + f"{what}  (after {took:.0f} s of fleet time)")

    # -- acting --------------------------------------------------------------------------------------------------

    async def apply(self, *examples: str) -> None:
        """Submit packaged manifests, as `brim apply -f` does."""
        wanted = [one for name in examples for one in manifests.parse(example(name).encode(), source=name)]
        self.say(style(f"$ brim apply {' '.join(f'-f {name}' for name in examples)}", dim=True))
        answer = Answer.decode(await self.bus.request(subjects.APPLY, manifests.payload(wanted), timeout=ANSWER))
        raise_faults(answer.faults)
        for entry in answer.accepted:
            self.say(f"{entry.ref.kind.lower()}/{entry.ref.name} {entry.change}")

    async def scale(self, ref: ObjectRef, replicas: int) -> None:
        """As `brim scale` does, once brim has heard what the members show: it gives up first what, as far as it
        knows, is still pending."""
        await self._heard(ref)
        name = f"{ref.kind.lower()}/{ref.name}"
        self.say(style(f"$ brim scale {name} -n {ref.namespace} --replicas {replicas}", dim=True))
        payload = Scale(ref=ref, replicas=replicas).encode()
        raise_faults(Answer.decode(await self.bus.request(subjects.SCALE, payload, timeout=ANSWER)).faults)

    async def _heard(self, ref: ObjectRef) -> None:
        """Wait until inventory's word of a workload is as new as the members' own."""
        subject = subjects.status_everywhere(ref)
        with anyio.move_on_after(ANSWER):
            while True:
                told = [Status.decode(m.data) for m in await self.bus.history("STATUS", subject) if not m.removed]
                if sum(status.ready for status in told) == self.observer.ready(ref.namespace, ref.name):
                    return
                await anyio.sleep(0.02)

    async def at_rest(self, ref: ObjectRef) -> None:
        """Wait until brim, too, has heard that no member is in the middle of a rollout: what it takes back later is
        what all of them had."""
        subject = subjects.status_everywhere(ref)
        with anyio.move_on_after(ANSWER):
            while True:
                told = [Status.decode(m.data) for m in await self.bus.history("STATUS", subject) if not m.removed]
                if not any(status.rolling for status in told):
                    return
                await anyio.sleep(0.02)

    async def create(self, member: str, manifest: JsonObject) -> None:
        """Create an object straight in a member, as somebody with kubectl would."""
        ref = ObjectRef.of(manifest)
        self.say(style(f"$ kubectl --context {member} create {ref.kind.lower()} {ref.name}", dim=True))
        await self.observer.clients[member].create(manifest, manager="kubectl")

    async def logs(self, member: str, namespace: str, pod: str) -> str:
        """A pod's log, shown and returned."""
        self.say(style(f"$ kubectl --context {member} logs -n {namespace} {pod}", dim=True))
        log = await self.observer.clients[member].logs(namespace, pod)
        self.say(log.rstrip())
        return log

    async def submit(self, *wanted: JsonObject) -> None:
        """Submit manifests that no file holds, as `brim apply -f -` does."""
        self.say(style("$ brim apply -f -", dim=True))
        answer = Answer.decode(await self.bus.request(subjects.APPLY, json.dumps(wanted).encode(), timeout=ANSWER))
        raise_faults(answer.faults)
        for entry in answer.accepted:
            self.say(f"{entry.ref.kind.lower()}/{entry.ref.name} {entry.change}")

    async def approve(self, ref: ObjectRef, *members: str) -> None:
        """As `brim rollout approve` does. Raises Refused where a member could not be approved."""
        where = "".join(f" -m {member}" for member in members) or " -M"
        self.say(style(f"$ brim rollout approve rollout/{ref.name} -n {ref.namespace}{where}", dim=True))
        identifier = f"demo-{len(self.seen)}-{self.clock.now():.3f}"
        action = Action(id=identifier, verb="approve", ref=ref, members=members, who="demo", asked_at=self.clock.now())
        told, _ = await acting.act(self.bus, action)
        for one in told:
            self.say(f"cluster({one.member}): {one.message}")
        if not told or any(not one.done for one in told):
            raise Refused(f"{ref} could not be approved everywhere")

    async def undo(self, ref: ObjectRef) -> None:
        """As `brim rollout undo` does, everywhere."""
        self.say(style(f"$ brim rollout undo rollout/{ref.name} -n {ref.namespace}", dim=True))
        payload = Roll(verb="undo", ref=ref).encode()
        raise_faults(Answer.decode(await self.bus.request(subjects.ROLL, payload, timeout=ANSWER)).faults)

    async def taint_nodes(self, member: str, key: str, value: str) -> None:
        """Taint all nodes of a member with NoSchedule, through its own API."""
        self.say(style(f"$ kubectl --context {member} taint nodes {key}={value}:NoSchedule --all", dim=True))
        taint: JsonObject = {"key": key, "value": value, "effect": "NoSchedule"}
        for node in self.observer.objects(NODES, member=member):
            ref = ObjectRef.of({"apiVersion": "v1", "kind": "Node", **node.manifest})
            await self.observer.clients[member].merge_patch(ref, {"spec": {"taints": [taint]}}, manager="kubectl")

    async def restart(self, member: str, ref: ObjectRef) -> None:
        """What `kubectl rollout restart` does: a new annotation in the pod template, through the member's own API."""
        command = f"kubectl --context {member} rollout restart deployment {ref.name} -n {ref.namespace}"
        self.say(style(f"$ {command}", dim=True))
        annotations: JsonObject = {"kubectl.kubernetes.io/restartedAt": rfc3339(self.clock.now())}
        patch: JsonObject = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
        await self.observer.clients[member].merge_patch(ref, patch, manager="kubectl-rollout")


@asynccontextmanager
async def staged(
    settings: Settings,
    fleet: Fleet,
    folder: Path,
    clock: Clock,
    say: Callable[[str], None],
    *,
    kubeconfig: Path | None = None,
    patience: float = 1.0,
) -> AsyncIterator[Stage]:
    """A stage whose members have joined and whose services are ready.

    kubeconfig: with a context per member, named by its id, where they are not simulated.
    """
    async with (
        run_brim(settings, clock, fleet, folder, own_server=True) as brim,
        Bus.connect(brim.settings.bus, name="demo") as bus,
    ):
        seen_through = kubeconfig or brim.kubeconfig
        assert seen_through is not None
        async with observing(fleet, seen_through) as observer:
            await bus.ensure_streams()
            await join_members(bus, brim)
            await brim.ready()
            yield Stage(brim, bus, observer, say, patience)
