"""Carrying out one wish in one member: look where needed, decide, write, until it is so."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter

from services.executor.core.live import Live, read
from services.executor.core.target import Target
from services.executor.core.verdicts import is_stale_memory
from services.executor.core.writes import Apply, Decision, Delete, Known, Write, from_live, from_memory, known_of
from services.executor.metrics import ExecutorMetrics
from shared.contracts.base import JsonObject
from shared.errors import BrimError, NotFound, Refused, WriteConflict
from shared.kube import MemberClient

STEPS = 6  # decisions for one wish: a new object takes two, a wrong memory one more
NO_KIND = "NoKindMatch"
LOOKS = 3  # looks after the member answered that the object is not what was seen


@dataclass(slots=True)
class Memory:
    """What is remembered of one object in one member.

    known: as it was left, None where a look is needed. unfinished: as it was left in the middle of what brim does to
    it. applied_before: it was there once for this workload.
    """

    known: Known | None = None
    unfinished: Live | None = None
    applied_before: bool = False


class Reconciler:
    """Writes to one member. Every method raises what the client raises."""

    def __init__(self, client: MemberClient, metrics: ExecutorMetrics) -> None:
        self._client = client
        self._metrics = metrics

    async def carry_out(self, target: Target, memory: Memory, *, look: bool) -> Decision:
        """Make the member's object what the target says; returns the last decision.

        Where that says `others_first`, this is to be called again when nothing else waits.

        memory is brought up to date, also where this fails: what may be wrong is forgotten.
        look: do not trust the memory alone, see what others did to the object.
        """
        remembered = None if look else memory.known
        if look:
            memory.unfinished = None
        for attempt in range(1, LOOKS + 1):
            try:
                return await self._try(target, memory, remembered)
            except (WriteConflict, NotFound) as error:
                if attempt == LOOKS or not (is_stale_memory(error) or isinstance(error, NotFound)):
                    raise
                remembered = None
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _try(self, target: Target, memory: Memory, remembered: Known | None) -> Decision:
        decision = from_memory(target, remembered) if remembered is not None else None
        before, memory.known = memory.known, None  # until it is certain again
        live, memory.unfinished = memory.unfinished, None
        if decision is None:
            unknown = before is None and live is None
            remembered, live = None, live or await self._look(target)
            decision = from_live(target, live, known=before, unknown=unknown, applied_before=memory.applied_before)
        for _ in range(STEPS):
            if decision.writes:
                remembered, live = None, await self._write_all(target, decision)
            if decision.others_first:
                memory.unfinished = live
                return decision
            if not decision.look_again:
                memory.known = remembered if live is None else known_of(live)
                memory.applied_before = memory.applied_before or decision.result == "applied"
                return decision
            decision = from_live(target, live)
        raise WriteConflict(f"{target.ref} changes faster than it can be written", code="Unsettled")

    async def _look(self, target: Target) -> Live | None:
        self._metrics.looks.add(member=self._client.member)
        try:
            return read(await self._client.get(target.ref), target.kind)
        except NotFound:
            return None
        except Refused as error:
            if error.code == NO_KIND and not target.present:
                return None  # what a member does not serve it does not hold
            raise

    async def _write_all(self, target: Target, decision: Decision) -> Live | None:
        """The object after the last write; None where nothing was written or it was deleted."""
        answer: JsonObject | None = None
        for write in decision.writes:
            answer = await self._measured(target, write)
        return read(answer, target.kind) if answer is not None else None

    async def _measured(self, target: Target, write: Write) -> JsonObject | None:
        verb, begin, result = type(write).__name__.lower(), perf_counter(), "ok"
        try:
            return await self._write(target, write)
        except BrimError as error:
            result = error.code
            raise
        finally:
            self._metrics.writes.add(member=self._client.member, verb=verb, result=result)
            self._metrics.write_seconds.observe(perf_counter() - begin, member=self._client.member, verb=verb)

    async def _write(self, target: Target, write: Write) -> JsonObject | None:
        if isinstance(write, Delete):
            await self._client.delete(target.ref, uid=write.uid, version=write.version or None)
            return None
        if not isinstance(write, Apply):
            return await self._client.merge_patch(target.ref, write.body)
        try:
            return await self._apply(write)
        except NotFound:
            if not target.ref.namespace or write.updates:
                raise
            await self._create_namespace(target.ref.namespace)
            return await self._apply(write)

    async def _apply(self, write: Apply) -> JsonObject:
        return await self._client.apply(write.manifest, manager=write.manager, force=write.force)

    async def _create_namespace(self, name: str) -> None:
        """Without brim's marks: nobody asked for it by name, and brim never removes one."""
        manifest: JsonObject = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        with suppress(WriteConflict):  # it is there by now
            await self._client.create(manifest)
