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


class Cost(Contract):
    """The sum for a moment is what is booked, plus for each meter (moment − since) × per_hour.

    ref: the workload, or a pod's own controller where brim did not propagate it. uid: the workload's in DESIRED.
    gone_since: Unix seconds at which it was first found to be no more; a week later the subject is purged.
    """

    TYPE: ClassVar[str] = "dev.brim.cost.v1"

    member: str
    ref: ObjectRef
    uid: str = ""
    booked: tuple[Booked, ...] = ()
    meters: tuple[Meter, ...] = ()
    gone_since: float | None = None
    observed_at: float

    @property
    def per_hour(self) -> float:
        return sum(meter.per_hour for meter in self.meters)

    def amount(self, at: float) -> float:
        """What it comes to at a moment. at: Unix seconds."""
        running = sum(max(0.0, at - meter.since) / 3600.0 * meter.per_hour for meter in self.meters)
        return sum(one.amount for one in self.booked) + running
