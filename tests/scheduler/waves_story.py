"""Members in the middle of a rollout, told as a story."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.scheduler.core import waves
from services.scheduler.core.values import Affinity, MemberFacts
from services.scheduler.core.waves import Measured, Plan, Update, Wave
from shared.contracts.placement import Waves
from shared.contracts.refs import ObjectRef
from shared.contracts.status import Status

REF = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="test", name="web")
NAMES = ("edge", "idc", "ack", "eu")
PLAN = Plan(
    "web", (Wave("canary", Affinity(("edge",)), bake=600.0), Wave("region", Affinity(("idc", "ack"))), Wave("rest"))
)


@dataclass
class Story:
    """Members that take a revision when they are told to, and become healthy when a test says so."""

    plan: Plan = PLAN
    now: float = 1000.0
    newest: int = 2
    before: int = 1
    current: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 1))
    ready: dict[str, int] = field(default_factory=dict)
    updated: dict[str, int] = field(default_factory=dict)
    bound: dict[str, int] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    values: dict[str, float | None] = field(default_factory=dict)
    measured_for: tuple[int, int] | None = None  # revision and wave; None for those under way
    rolling: set[str] = field(default_factory=set)
    pins: dict[str, int] = field(default_factory=dict)
    state: Waves | None = None
    due: float | None = None
    reasons: tuple[tuple[str, str, str], ...] = ()

    def status(self, member: str) -> Status:
        ready = self.ready.get(member, 4)
        return Status(
            member=member,
            ref=REF,
            observed_at=self.now,
            revision=self.current[member],
            replicas=4,
            ready=ready,
            updated=self.updated.get(member, ready),
            bound=self.bound.get(member, ready),
            pending=self.pending.get(member, 0),
            restarts=self.restarts.get(member, 0),
            rolling=member in self.rolling,
        )

    def measured(self, member: str) -> Measured | None:
        if member not in self.values:
            return None
        revision, wave = self.measured_for or (self.newest, self.state.wave if self.state else 0)
        return Measured(revision, wave, self.values[member], "its server is away" * (self.values[member] is None))

    def look(self) -> dict[str, int]:
        updates = [
            Update(MemberFacts(name), current, 4, self.status(name) if current else None, self.measured(name))
            for name, current in self.current.items()
        ]
        found = waves.decide(self.newest, self.before, updates, self.pins, self.plan, self.state, self.now)
        self.state, self.due, self.reasons = found.waves, found.due, found.reasons
        self.current = dict(found.targets)
        return self.current

    def settle(self) -> dict[str, int]:
        """Looks until nothing changes: members are healthy at once unless a test says otherwise."""
        for _ in range(20):
            before = dict(self.current), self.state
            if (self.look(), self.state) == before:
                return self.current
        raise AssertionError("it does not settle")

    @property
    def new(self) -> set[str]:
        return {name for name, revision in self.current.items() if revision == self.newest}

    @property
    def standing(self) -> tuple[int, str]:
        assert self.state is not None
        return self.state.wave, self.state.state
