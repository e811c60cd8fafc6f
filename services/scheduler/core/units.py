"""Units at the level of the fleet: what room a member has for pods that brim binds there itself.

A workload whose pods name brim's scheduler may use virtual nodes as its ResourcePolicy, or its wish for ECI, says. Each
unit is a shape of its own: the pod's, with one more requirement on the nodes. So all that holds for shapes holds for
units, and a unit's `max` caps what its shape finds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np

from services.scheduler.core.constraints import Expression, Term, Toleration
from services.scheduler.core.drafts import Case
from services.scheduler.core.filtering import TierMembers
from services.scheduler.core.inside.values import PolicyUnit, ResourcePolicy
from services.scheduler.core.nodes import ELASTIC, FREE, VIRTUAL_ROOM, Floats
from services.scheduler.core.values import Component, Shape, UnitRoom, Workload
from shared import eci
from shared.units import CLOUD_LABELS, VIRTUAL_LABEL, VIRTUAL_TAINT

_VIRTUAL: Final = Expression(VIRTUAL_LABEL[0], "In", (VIRTUAL_LABEL[1],))
_REAL: Final = Expression(VIRTUAL_LABEL[0], "NotIn", (VIRTUAL_LABEL[1],))
_TOLERATED: Final = Toleration(key=VIRTUAL_TAINT[0], operator="Exists")

Lines: TypeAlias = tuple[Floats, Floats, Floats]  # free, elastic, virtual: per member


# -- which units a workload may use --------------------------------------------------------------------------


def of_eci(shape: Shape, annotations: Mapping[str, str]) -> tuple[UnitRoom, ...]:
    """Pods that ask for ECI: virtual nodes alone, whatever else they say about nodes."""
    return (_virtual(Shape(shape.requests, (), (), shape.tolerations), annotations, None),)


def of_policy(shape: Shape, annotations: Mapping[str, str], policy: ResourcePolicy) -> tuple[UnitRoom, ...]:
    """In the policy's order, each unit once per entry."""
    return tuple(_of_unit(shape, annotations, unit) for unit in policy.units)


def with_units(workload: Workload, units: tuple[UnitRoom, ...]) -> Workload:
    """The workload, its one component's shape replaced by that of all its units."""
    (component,) = workload.components
    return replace(workload, components=(replace(component, shape=_union(units, component.shape)),), units=units)


def _of_unit(shape: Shape, annotations: Mapping[str, str], unit: PolicyUnit) -> UnitRoom:
    match unit.resource:
        case "idc":
            machines = Term((_REAL, *(Expression(label, "DoesNotExist") for label in CLOUD_LABELS)))
            return UnitRoom("idc", _with(shape, machines), shape, (machines,), unit.max)
        case "ecs":
            chosen = tuple(Expression(key, "In", (value,)) for key, value in unit.node_selector)
            nodes = tuple(Term((_REAL, Expression(label, "Exists"), *chosen)) for label in CLOUD_LABELS)
            return UnitRoom("ecs", _with(shape, *nodes), shape, nodes, unit.max)
        case "eci":
            return _virtual(shape, annotations, unit.max)


def _virtual(shape: Shape, annotations: Mapping[str, str], maximum: int | None) -> UnitRoom:
    """What an instance takes of the quota is its own size. Specifications that do not exist leave no room: the intake
    refused them, or the pod's event will name them."""
    try:
        specs = eci.candidates(dict(shape.requests), annotations)
    except ValueError:
        specs = ()
    asked = dict(shape.requests)
    if specs:
        asked |= {"cpu": specs[0].cpu, "memory": specs[0].memory}
        asked.pop(eci.GPU, None)  # the instance brings its own; a virtual node need not count them
    sized = Shape(tuple(sorted(asked.items())), shape.node_selector, shape.affinity, (*shape.tolerations, _TOLERATED))
    nodes = Term((_VIRTUAL,))
    return UnitRoom("eci", _with(sized, nodes), sized, (nodes,), maximum, specs, eci.wants_spot(annotations))


def _with(shape: Shape, *alternatives: Term) -> Shape:
    """The shape with one of these requirements more: terms are alternatives, so each is joined with each."""
    own = shape.affinity or (Term(),)
    terms = tuple(Term((*term.expressions, *more.expressions), term.fields) for term in own for more in alternatives)
    return Shape(shape.requests, shape.node_selector, terms, shape.tolerations)


def _union(units: tuple[UnitRoom, ...], shape: Shape) -> Shape:
    """One shape for all units: whose growth wakes the workload."""
    return units[0].shape if len(units) == 1 else _joined(tuple(unit.shape for unit in units), shape.requests)


def _joined(shapes: tuple[Shape, ...], requests: tuple[tuple[str, int], ...] | None = None) -> Shape:
    """What takes the nodes of each. requests: the first one's where not given."""
    terms = tuple(dict.fromkeys(term for shape in shapes for term in shape.affinity))
    tolerations = tuple(dict.fromkeys(one for shape in shapes for one in shape.tolerations))
    return Shape(requests or shapes[0].requests, shapes[0].node_selector, terms, tolerations)


# -- what is reserved for it ---------------------------------------------------------------------------------


def components(workload: Workload, count: int, virtual: int) -> tuple[Component, ...]:
    """So many replicas in one member, `virtual` of them on virtual nodes, by the nodes that they can be on.

    Units fill from the top, so that the first replicas, up to its maximum, are in the first unit or a later one, the
    next in the second or a later one, and so on.
    """
    parts = _parts(workload.units)
    left = [count - min(virtual, count), min(virtual, count)]
    last = {part.on_virtual: part for part in parts}  # also what is there against its maximum
    if len(last) == 1:
        left[parts[0].on_virtual] = count
    found = []
    for part in parts:
        taken = left[part.on_virtual] if part is last[part.on_virtual] else min(left[part.on_virtual], part.count)
        left[part.on_virtual] -= taken
        found.append(replace(part, count=taken))
    return tuple(found)


@lru_cache(maxsize=4096)
def _parts(units: tuple[UnitRoom, ...]) -> tuple[Component, ...]:
    """count: at most, in all but the last one on machines. At least one."""
    machines = [unit for unit in units if unit.unit != "eci"]
    parts = []
    for place, unit in enumerate(machines):
        shapes = tuple(dict.fromkeys(one.shape for one in machines[place:]))
        choices = shapes if len(shapes) > 1 else ()
        parts.append(Component(unit.unit, _joined(shapes), unit.maximum or 0, choices=choices))
        if unit.maximum is None:
            break
    virtual = next((unit for unit in units if unit.unit == "eci"), None)
    if virtual is not None:
        parts.append(Component("eci", virtual.shape, 0, on_virtual=True))
    return tuple(parts)


# -- their room ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Held:
    """Replicas per member, of which units have not been said to hold any yet.

    A placement knows which are virtual and which came with nodes that were added for them (cloud). Which unit the
    others are in, it does not know: units fill from the top.
    """

    machines: Floats
    cloud: Floats
    virtual: Floats

    @classmethod
    def of(cls, case: Case, names: Sequence[str], *, with_given: bool) -> _Held:
        """with_given: those that this decision gave are counted too."""
        held = cls(*(np.zeros(len(names)) for _ in range(3)))
        for position, name in enumerate(names):
            draft = case.drafts.get(name)
            if draft is None or not draft.present:
                continue
            kinds = ("free", "elastic", "virtual")
            free, elastic, virtual = (0 if with_given else case.given_by_kind.get((name, kind), 0) for kind in kinds)
            held.virtual[position] = draft.virtual - virtual
            held.cloud[position] = draft.added + draft.elastic - elastic
            held.machines[position] = max(0, draft.free - draft.added - free)
        return held

    def take(self, unit: UnitRoom) -> Floats:
        """Those of a unit: up to its maximum, all that can be in it where it has none."""
        most = float("inf") if unit.maximum is None else float(unit.maximum)
        if unit.unit == "eci":
            used = np.minimum(self.virtual, most)
            self.virtual = self.virtual - used
            return used
        used = np.minimum(self.cloud, most) if unit.unit == "ecs" else np.zeros(len(self.cloud))
        self.cloud = self.cloud - used
        more = np.minimum(self.machines, most - used)
        self.machines = self.machines - more
        return used + more


def rooms(case: Case, tier: TierMembers) -> Lines:
    """The room of a tier's members over all units, each up to its maximum less what it holds already."""
    held = _Held.of(case, tier.names, with_given=False)
    total = [np.zeros(len(tier.names)) for _ in range(3)]
    for unit in case.workload.units:
        found = case.room.rooms(unit.shape, tier.numbers)
        if unit.specs:
            found = (found[FREE], found[ELASTIC], _in_stock(case, unit, tier.names, found[VIRTUAL_ROOM]))
        used = held.take(unit)
        if unit.maximum is not None:
            found = _capped(found, unit.maximum - used)
        for kind in (FREE, ELASTIC, VIRTUAL_ROOM):
            total[kind] += found[kind]
    return total[FREE], total[ELASTIC], total[VIRTUAL_ROOM]


def _in_stock(case: Case, unit: UnitRoom, names: Sequence[str], room: Floats) -> Floats:
    """The room on virtual nodes, as far as they have instances left to sell."""
    found = room.copy()
    for position in np.flatnonzero(room).tolist():
        member = names[position]
        left = [stock.stock.get(name) for stock in case.room.selling(member) for name in _names(unit)]
        if left and None not in left:
            promised = case.room.promised(unit.shape, member)
            found[position] = min(found[position], max(0, sum(one or 0 for one in left) - promised))
    return found


def _names(unit: UnitRoom) -> tuple[str, ...]:
    return tuple(dict.fromkeys(spec.name for spec in unit.specs))


def why(case: Case, member: str) -> tuple[str, str]:
    """(code, sentence): why a member takes no more, unit by unit."""
    held = _Held.of(case, (member,), with_given=True)
    found = []
    for unit in case.workload.units:
        used = int(held.take(unit)[0])
        if used == unit.maximum:
            found.append(("UnitFull", f"{unit.unit} holds {used} of at most {unit.maximum}"))
        elif unit.specs and case.room.room(unit.shape, member).virtual:
            found.append(("NoStock", f"{unit.unit}: nothing is left of {', '.join(_names(unit))}"))
        else:
            code, sentence = case.room.why(unit.asks, member, unit.nodes)
            found.append((code, f"{unit.unit}: {sentence}"))
    codes = [code for code, _ in found if code != "UnitFull"]
    sentence = "; ".join(dict.fromkeys(sentence for _, sentence in found))
    return codes[-1] if codes else "UnitFull", sentence


def explained(case: Case, member: str) -> bool:
    """Whether `why` is at hand, without looking at nodes."""
    return all(case.room.explained(unit.asks, member, unit.nodes) for unit in case.workload.units)


def _capped(room: Lines, left: Floats) -> Lines:
    """Free room first, then elastic, then virtual."""
    free = np.minimum(room[FREE], left)
    elastic = np.minimum(room[ELASTIC], left - free)
    return free, elastic, np.minimum(room[VIRTUAL_ROOM], left - free - elastic)
