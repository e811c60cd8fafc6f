"""Why a unit takes no more of a pod, in words for a person: counted, the commonest cause first.

Each node counts once, for the first thing that it fails at.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from services.scheduler.core import fits
from services.scheduler.core.inside import fit, prices
from services.scheduler.core.inside.nodes import Flags
from services.scheduler.core.inside.trial import Case, ceiling_reached, steps
from services.scheduler.core.inside.units import Stage
from services.scheduler.core.nodes import Class
from services.scheduler.core.values import Shape
from services.scheduler.core.why import lack, wanted
from shared.quantities import show

_WORDS = {
    "HostPortTaken": "where its host port is taken",
    "PodAffinity": "without the pods that its affinity asks for",
    "PodAntiAffinity": "beside pods that anti-affinity keeps apart",
    "TopologySpread": "where its topology spread would be broken",
}
_KINDS = {None: "node", "idc": "idc node", "ecs": "ecs node", "eci": "virtual node"}


def why(case: Case, stage: Stage, refused: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """(code, sentence) for a unit of which no node takes the pod. refused: what virtual nodes said."""
    nodes, where = case.member.nodes, stage.where
    base = fit.of_unit(nodes, where.unit, where.selector)
    total = int(base.sum())
    kind = _KINDS[where.unit]
    if not total:
        return ("NoVirtualNode" if where.virtual else "NoNodes"), f"there is no {kind}"
    causes: Counter[tuple[str, str]] = Counter(refused)
    left = _unlike(case, stage, base, causes)
    for code, yes in steps(case, stage):
        failing = left & ~yes
        if failing.any():
            _count(case, code, failing, causes)
            left = left & yes
    ranked = sorted(causes.items(), key=lambda item: (-item[1], item[0]))
    if not ranked:
        return "InsufficientResources", f"{total} {kind}{'s' * (total != 1)}: full"
    listed = ", ".join(text if count == total else f"{count} {text}" for (_, text), count in ranked)
    return ranked[0][0][0], f"{total} {kind}{'s' * (total != 1)}: {listed}"


def _unlike(case: Case, stage: Stage, base: Flags, causes: Counter[tuple[str, str]]) -> Flags:
    """Takes off those that do not match in state, taints or labels."""
    nodes, filters = case.member.nodes, stage.where.filters
    left = base & fit.ready(nodes, stage.where)
    if unready := int((base & ~left).sum()):
        causes["NotReady", "not Ready"] += unready
    tolerated = fit.tolerated(nodes, filters)
    for row in np.flatnonzero(left & ~tolerated).tolist():
        causes[_taint(filters, nodes.facts[int(nodes.klass[row])])] += 1
    left = left & tolerated
    selected = fit.selected(nodes, filters)
    if unselected := int((left & ~selected).sum()):
        causes["NodeSelectorMismatch", f"not matching {wanted(filters)}"] += unselected
    return left & selected


def _taint(filters: Shape, facts: Class) -> tuple[str, str]:
    taint = fits.untolerated(filters, facts)
    if taint == fits.UNSCHEDULABLE:
        return "Unschedulable", "cordoned"
    return "TaintNotTolerated", f"with taint {taint} that is not tolerated"


def _count(case: Case, code: str, failing: Flags, causes: Counter[tuple[str, str]]) -> None:
    nodes = case.member.nodes
    if code == "InsufficientResources":
        _count_lack(case, failing, causes)
    elif code == "CostCeiling" and case.ceiling is not None:
        least = float(prices.hourly(nodes, case.member.prices, case.requests)[failing].min())
        spent = case.member.counts.spending(case.record.owner)
        causes[code, f"too dear: {ceiling_reached(case.ceiling, spent, least)}"] += int(failing.sum())
    else:
        causes[code, _WORDS[code]] += int(failing.sum())


def _count_lack(case: Case, failing: Flags, causes: Counter[tuple[str, str]]) -> None:
    """By the resource of which most is lacking, by share."""
    nodes = case.member.nodes
    rows = np.flatnonzero(failing)
    names = [resource for resource, _ in case.requests]
    avail = np.stack([nodes.line(nodes.avail, resource)[rows] for resource in names])
    amounts = np.array([amount for _, amount in case.requests], dtype=np.float64)
    share = avail / amounts[:, None]
    worst = share.argmin(axis=0)
    for index, resource in enumerate(names):
        here = worst == index
        if here.any():
            most = max(0, int(avail[index, here].max()))
            text = lack(resource, int(amounts[index]), most)
            if most >= amounts[index]:  # it is set aside for a pod of higher priority
                text = f"set aside for pods of higher priority ({show(resource, most)} {resource})"
            causes["InsufficientResources", text] += int(here.sum())
