"""COST: what a workload's pods have cost and cost now in one member."""

from __future__ import annotations

from typing import ClassVar

from shared.contracts.base import Contract, Part
from shared.contracts.refs import ObjectRef
from shared.units import Unit


class Meter(Part):
    """One pod that is being paid for. since: Unix seconds. per_hour: its share of its node, or its instance."""

    pod: str
    uid: str
    unit: Unit
    since: float
    per_hour: float


class Booked(Part):
    """What pods that have ended cost in all. hours: of pods, added up."""

    unit: Unit
    amount: float
    hours: float
    pods: int


class Rest(Part):
    """Pods that are being paid for and have no meter of their own here, as there are so many: all of one unit.

    since: Unix seconds up to which they are booked. per_hour: of all of them.
    """

    unit: Unit
    pods: int
    since: float
    per_hour: float


class Cost(Contract):
    """The sum for a moment is what is booked, plus for each meter, and each rest, (moment − since) × per_hour.

    ref: the workload, or a pod's own controller where brim did not propagate it. uid: the workload's in DESIRED.
    gone_since: Unix seconds at which it was first found to be no more; a week later the subject is purged.
    """

    TYPE: ClassVar[str] = "dev.brim.cost.v1"

    member: str
    ref: ObjectRef
    uid: str = ""
    booked: tuple[Booked, ...] = ()
    meters: tuple[Meter, ...] = ()
    rest: tuple[Rest, ...] = ()
    gone_since: float | None = None
    observed_at: float

    @property
    def per_hour(self) -> float:
        return sum(meter.per_hour for meter in self.meters) + sum(rest.per_hour for rest in self.rest)

    def amount(self, at: float) -> float:
        """What it comes to at a moment. at: Unix seconds."""
        rates = [(meter.since, meter.per_hour) for meter in self.meters]
        rates += [(rest.since, rest.per_hour) for rest in self.rest]
        running = sum(max(0.0, at - since) / 3600.0 * per_hour for since, per_hour in rates)
        return sum(one.amount for one in self.booked) + running
