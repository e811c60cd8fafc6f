"""Units of a member: on which a pod is tried, how full each is, and when the next one may be used.

The rules are those of ACK's ResourcePolicy. Pods that were bound before the policy was published do not count where
`ignorePreviousPod` says so, nor do terminating ones with `ignoreTerminatingPod`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from services.scheduler.core.constraints import Taint, Toleration
from services.scheduler.core.inside.fit import Where
from services.scheduler.core.inside.nodes import Amounts, Nodes
from services.scheduler.core.inside.values import Labels, Needs, PolicyUnit, ResourcePolicy
from services.scheduler.core.values import Shape
from shared.quantities import show
from shared.units import VIRTUAL_TAINT

_KEY, _VALUE, _EFFECT = VIRTUAL_TAINT
_ON_ECI: Final = Toleration(_KEY, "Exists")
_TAINT: Final = Taint(_KEY, _VALUE, _EFFECT)


@dataclass(frozen=True, slots=True)
class Stage:
    """Nodes on which a pod is tried together. place: of the policy's unit; None where no policy has a say."""

    where: Where
    place: int | None = None
    rule: PolicyUnit | None = None

    @property
    def name(self) -> str:
        """As people read it."""
        if self.place is None:
            return "eci" if self.where.virtual else ""
        chosen = ",".join(f"{key}={value}" for key, value in self.where.selector)
        return f"unit {self.place + 1} ({self.where.unit}{' ' + chosen if chosen else ''})"


@lru_cache(maxsize=1024)
def stages_of(needs: Needs, policy: ResourcePolicy | None, eci: bool) -> tuple[Stage, ...]:
    """Where a pod is tried, in this order. eci: it asks for ECI."""
    filters = needs.filters
    everywhere = tolerating_eci(filters)
    if eci:  # whatever else the pod says about nodes
        return (Stage(Where("eci", (), Shape((), (), (), everywhere.tolerations))),)
    if policy is not None:
        return tuple(
            Stage(
                Where(unit.resource, unit.node_selector, everywhere if unit.resource == "eci" else filters), place, unit
            )
            for place, unit in enumerate(policy.units)
        )
    real = Stage(Where(None, (), filters))
    if any(toleration.tolerates(_TAINT) for toleration in filters.tolerations):
        return (real, Stage(Where("eci", (), filters)))
    return (real,)


def tolerating_eci(filters: Shape) -> Shape:
    """As if the pod tolerated the taint of virtual nodes."""
    return Shape((), filters.node_selector, filters.affinity, (*filters.tolerations, _ON_ECI))


def place_of(
    policy: ResourcePolicy, nodes: Nodes, row: int, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> int | None:
    """Which unit a pod on this node is in: one whose marks it carries before one without marks; None for no unit."""
    unmarked: int | None = None
    for place, unit in enumerate(policy.units):
        if not _on(unit, nodes, row):
            continue
        if not unit.pod_labels and not unit.pod_annotations:
            unmarked = place if unmarked is None else unmarked
        elif _carries(labels, unit.pod_labels) and _carries(annotations, unit.pod_annotations):
            return place
    return unmarked


def _on(unit: PolicyUnit, nodes: Nodes, row: int) -> bool:
    return nodes.unit(row) == unit.resource and all(nodes.label(row, key) == value for key, value in unit.node_selector)


def _carries(has: Mapping[str, str], marks: Labels) -> bool:
    return all(has.get(key) == value for key, value in marks)


# -- how full a unit is --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Use:
    """What some pods take together."""

    pods: int = 0
    amounts: dict[str, int] = field(default_factory=dict)

    def count(self, requests: Amounts, sign: int) -> None:
        self.pods += sign
        for resource, amount in requests:
            self.amounts[resource] = self.amounts.get(resource, 0) + sign * amount


@dataclass(frozen=True, slots=True)
class Entry:
    """One pod as it counts in a unit. group: its values of matchLabelKeys."""

    place: int
    group: tuple[str | None, ...]
    requests: Amounts
    leaving: bool
    previous: bool


class Tally:
    """What runs in each unit of one policy, in one member; bound and assumed pods alike."""

    def __init__(self, policy: ResourcePolicy) -> None:
        self.policy = policy
        self._uses: dict[tuple[int, tuple[str | None, ...], bool], Use] = {}

    def count(self, entry: Entry, sign: int) -> None:
        if entry.previous and self.policy.ignores_previous:
            return
        key = (entry.place, entry.group, entry.leaving)
        use = self._uses.get(key)
        if use is None:
            use = self._uses[key] = Use()
        use.count(entry.requests, sign)
        if not use.pods:
            del self._uses[key]

    def leaving(self, place: int) -> int:
        """Pods that terminate in the unit."""
        return sum(use.pods for (where, _, leaving), use in self._uses.items() if where == place and leaving)

    def full(self, place: int, group: tuple[str | None, ...], requests: Amounts) -> str | None:
        """Why one more pod would be too many for the unit; None where it is not."""
        rule = self.policy.units[place]
        if not rule.bounded:
            return None
        uses = [self._uses.get((place, group, leaving), Use()) for leaving in self._counted()]
        pods = sum(use.pods for use in uses)
        if rule.max is not None and pods >= rule.max:
            return f"{pods} of at most {rule.max} pods"
        asked = dict(requests)
        for resource, limit in rule.max_resources:
            taken = sum(use.amounts.get(resource, 0) for use in uses)
            if taken + asked.get(resource, 0) > limit:
                return f"{show(resource, taken)} of at most {show(resource, limit)} {resource}"
        return None

    def _counted(self) -> tuple[bool, ...]:
        return (False,) if self.policy.ignores_terminating else (False, True)


# -- when the next unit may be used --------------------------------------------------------------------------


def waits(policy: ResourcePolicy, rule: PolicyUnit, full: bool, leaving: int) -> bool:
    """Whether a pod that found no place in this unit stays with it, for a while at least."""
    match policy.next_unit:
        case "LackResourceOrExceedMax":
            return False
        case "ExceedMax":
            return rule.bounded and not full
        case "LackResourceAndNoTerminating":
            return leaving > 0
        case "TimeoutOrExceedMax":
            return not full
