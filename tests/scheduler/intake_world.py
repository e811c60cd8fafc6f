"""The intake's view of DESIRED, for what follows workloads by the objects of one kind."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from typing import Any

from services.scheduler.intake import changes
from services.scheduler.intake.changes import Stamp
from services.scheduler.intake.intake import read_manifests
from services.scheduler.intake.known import Known
from shared.contracts.desired import Desired


class IntakeWorld:
    """kind: of the objects that are followed. take: is handed each, and returns the workloads to be looked at again."""

    def __init__(self, known: Known, kind: str, take: Callable[[Desired], Iterable[Desired]]) -> None:
        self._known = known
        self._kind = kind
        self._take = take
        self._sequence = itertools.count(1)

    def apply(self, *manifests: dict[str, Any]) -> list[Desired]:
        """Returns the workloads to be looked at again."""
        again: list[Desired] = []
        for manifest in manifests:
            read = read_manifests(json.dumps(manifest).encode())
            verdict = changes.apply(read, self._known, Stamp(1.0, 1, lambda: "u"))
            assert verdict.faults == []
            for write in verdict.writes:
                self._known.put(write.desired, next(self._sequence))
                if write.desired.ref.kind == self._kind:
                    again += self._take(write.desired)
        return again
