"""Which kinds have to be watched in the members: those that DESIRED holds, those that STATUS tells of, and Kubernetes'
own workloads in any case: where the streams were lost, members alone still know what runs there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

from shared.contracts import own_kinds
from shared.contracts.refs import ObjectRef


@dataclass(frozen=True, slots=True)
class WatchedKind:
    """version: the one that a manifest named first."""

    group: str
    version: str
    kind: str

    @classmethod
    def of(cls, ref: ObjectRef) -> WatchedKind:
        return cls(ref.group, ref.version, ref.kind)


ALWAYS: Final = (
    WatchedKind("apps", "v1", "Deployment"),
    WatchedKind("apps", "v1", "StatefulSet"),
    WatchedKind("batch", "v1", "Job"),
)


class Kinds:
    """Grows while the process runs and never shrinks: objects of a kind outlive the last wish for one."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], WatchedKind] = {(kind.kind, kind.group): kind for kind in ALWAYS}
        self._order: list[WatchedKind] = list(ALWAYS)
        self._grown = asyncio.Event()

    def knows(self, kind: str, group: str) -> bool:
        return group in own_kinds.GROUPS or (kind, group) in self._known

    def add(self, ref: ObjectRef) -> None:
        if not self.knows(ref.kind, ref.group):
            self._known[(ref.kind, ref.group)] = found = WatchedKind.of(ref)
            self._order.append(found)
            self._grown.set()
            self._grown = asyncio.Event()

    @property
    def all(self) -> tuple[WatchedKind, ...]:
        return tuple(self._order)

    async def follow(self) -> AsyncGenerator[WatchedKind]:
        """Every kind, those known now and those to come."""
        place = 0
        while True:
            while place < len(self._order):
                place += 1
                yield self._order[place - 1]
            await self._grown.wait()
