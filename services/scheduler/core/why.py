"""Why a member has no room for a shape, in words for a person: counted, the commonest cause first.

"12 nodes: 8 lack nvidia.com/gpu (needs 2, at most 1 free), 4 have taint dedicated=db:NoSchedule not tolerated;
pool gpu-a10 has no stock".
"""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from services.scheduler.core import fits
from services.scheduler.core.constraints import Term
from services.scheduler.core.nodes import EMPTY, HEADROOM, UNREADY, Classes, Floats, Indexes, Nodes, Table
from services.scheduler.core.values import Shape
from shared import quantities

Flags: TypeAlias = npt.NDArray[np.bool_]


def why(nodes: Nodes, classes: Classes, table: Table, shape: Shape, among: tuple[Term, ...] = ()) -> tuple[str, str]:
    """(code, sentence) for a member without room for this shape. O(its nodes). among: the only nodes that count."""
    part = slice(table.base, table.base + table.top)
    phase, klass = nodes.phase[part], nodes.klass[part]
    real = (phase != EMPTY) & (phase != HEADROOM)
    if among:
        real &= np.isin(klass, [number for number in table.used if fits.is_among(among, classes.facts[number])])
    total = int(real.sum())
    causes: Counter[tuple[str, str]] = Counter()
    if total:
        _count_classes(nodes, classes, table, shape, real, causes)
    ranked = sorted(causes.items(), key=lambda item: (-item[1], item[0]))
    listed = ", ".join(f"{count} {text}" if count < total else text for (_, text), count in ranked)
    pools = [text for pool in sorted(table.pools) if (text := _pool(nodes, classes, table, shape, pool, among))]
    if not total:
        return "NoNodes", "; ".join(["it has no nodes" if not among else "there are none", *pools])
    sentence = f"{total} node{'s' * (total != 1)}: {listed or 'full'}"
    return ranked[0][0][0] if ranked else "InsufficientResources", "; ".join([sentence, *pools])


def _count_classes(
    nodes: Nodes,
    classes: Classes,
    table: Table,
    shape: Shape,
    real: Flags,
    causes: Counter[tuple[str, str]],
) -> None:
    part = slice(table.base, table.base + table.top)
    klass, phase = nodes.klass[part], nodes.phase[part]
    usable = np.zeros(table.top, dtype=np.bool_)
    for number in table.used:
        here = real & (klass == number)
        count = int(here.sum())
        if not count:
            continue
        facts = classes.facts[number]
        taint = fits.untolerated(shape, facts)
        if taint == fits.UNSCHEDULABLE:
            causes["Unschedulable", "cordoned"] += count
        elif taint is not None:
            causes["TaintNotTolerated", f"with taint {taint} that is not tolerated"] += count
        elif not fits.asks_for_names(shape) and not fits.selects(shape, facts):
            causes["NodeSelectorMismatch", f"not matching {wanted(shape)}"] += count
        else:
            usable |= here
    unready = int((usable & (phase == UNREADY)).sum())
    if unready:
        causes["NotReady", "not Ready"] += unready
    _count_lack(nodes, table, shape, usable & (phase != UNREADY), causes)


def wanted(shape: Shape) -> str:
    """In words: by what the shape chooses nodes."""
    if shape.node_selector:
        return "nodeSelector " + ",".join(f"{key}={value}" for key, value in shape.node_selector)
    return "the required node affinity"


def _count_lack(
    nodes: Nodes,
    table: Table,
    shape: Shape,
    usable: Flags,
    causes: Counter[tuple[str, str]],
) -> None:
    """Each node counts once: for the resource of which it lacks the most, by share."""
    rows = np.flatnonzero(usable) + table.base
    if not len(rows):
        return
    if fits.asks_for_names(shape):
        causes["NodeSelectorMismatch", "full, or not the nodes it names"] += len(rows)
        return
    names = [resource for resource, _ in shape.requests]
    amounts = np.array([amount for _, amount in shape.requests], dtype=np.float64)
    avail = np.stack([_line(nodes, resource, rows) for resource in names])
    share = avail / amounts[:, None]
    worst = share.argmin(axis=0)
    short = share.min(axis=0) < 1
    for index, resource in enumerate(names):
        here = short & (worst == index)
        count = int(here.sum())
        if count:
            most = max(0, int(avail[index, here].max()))
            text = lack(resource, int(amounts[index]), most)
            causes["InsufficientResources", text] += count


def _line(nodes: Nodes, resource: str, rows: Indexes) -> Floats:
    column = nodes.columns.get(resource)
    return np.zeros(len(rows)) if column is None else nodes.avail[column].take(rows)


def lack(resource: str, needed: int, most: int) -> str:
    """In words: what it needs of a resource, and the most that one node has free."""
    if resource == "pods":
        return "without a free pod slot"
    free = quantities.show(resource, most) if most else "none"
    return f"lacking {resource} (needs {quantities.show(resource, needed)}, {'at most ' if most else ''}{free} free)"


def _pool(nodes: Nodes, classes: Classes, table: Table, shape: Shape, name: str, among: tuple[Term, ...]) -> str:
    rows = table.pools[name]
    pool = rows.pool
    facts = classes.facts[int(nodes.klass[table.base + rows.main])]
    if not fits.is_among(among, facts):
        return ""
    taint = fits.untolerated(shape, facts)
    if taint is not None:
        return f"pool {name}: taint {taint} is not tolerated"
    if not fits.selects(shape, facts):
        return f"pool {name}: its nodes do not match {wanted(shape)}"
    for resource, amount in shape.requests:
        column = nodes.columns.get(resource)
        most = 0 if column is None else int(nodes.total[column, table.base + rows.main])
        if most < amount:
            have, need = quantities.show(resource, most), quantities.show(resource, amount)
            return f"pool {name}: its nodes have {have} {resource}, needs {need}"
    if pool.stock == 0:
        return f"pool {name} has no stock"
    if pool.headroom == 0:
        return f"pool {name} is at its maximum of {pool.max} nodes"
    return f"pool {name}: all {pool.headroom} nodes that it can add are promised" if len(rows.split) else ""
