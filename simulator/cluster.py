"""What every controller of a member holds: the store, the queue, the clock, and a voice (events)."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from shared.clock import Clock
from shared.fleet import Delays
from simulator import objects
from simulator.events import EventLog
from simulator.objects import Object
from simulator.store import Change, Store
from simulator.workqueue import WorkQueue

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


@dataclass
class Cluster:
    """One member's shared parts."""

    store: Store
    queue: WorkQueue
    clock: Clock
    delays: Delays
    version: str = ""
    random: random.Random = field(default_factory=random.Random)
    events: EventLog = field(init=False)

    def __post_init__(self) -> None:
        self.events = EventLog(self.store, self.clock, self.random)

    def now(self) -> float:
        return self.clock.now()

    def suffix(self, length: int = 5) -> str:
        """The random end of a generated name."""
        return "".join(self.random.choices(_LETTERS, k=length))

    def event(self, about: Object, source: str, reason: str, message: str, *, warning: bool = False) -> None:
        """Record an event; one that repeats counts up instead."""
        self.events.record(about, source, reason, message, warning=warning)

    def requeue_owner(self, change: Change, kind: str, controller: str) -> None:
        """Queue the controller of a changed object, as it is and as it was."""
        for obj in (change.object, change.previous):
            owner = objects.controller(obj) if obj is not None else None
            if owner is not None and owner["kind"] == kind:
                self.queue.add(controller, (objects.namespace(change.object), owner["name"]))
