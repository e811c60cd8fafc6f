"""Which nodes take a pod: every node's free room as one matrix, and the rules that need no arithmetic.

Room is kept by difference as pods come and go; the other rules (selectors, taints, cordons) are worked out
once per kind of pod and node change, so that placing one pod costs a few vector operations.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared import pod_requests, quantities
from simulator import objects, selectors
from simulator.objects import Object

BASE = ("cpu", "memory", "ephemeral-storage", "pods")
_MASKS_KEPT = 256

Amounts = dict[str, int]


def requests_of(spec: Object) -> Amounts:
    """A pod's requests in base units, its own slot included."""
    return pod_requests.requests_of(spec) | {"pods": 1}


def tolerates(tolerations: list[Object], taint: Object) -> bool:
    return any(toleration_covers(toleration, taint) for toleration in tolerations)


def toleration_covers(toleration: Object, taint: Object) -> bool:
    """Kubernetes' ToleratesTaint."""
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    key = toleration.get("key") or ""
    if key and key != taint["key"]:
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    return bool(key) and (toleration.get("value") or "") == (taint.get("value") or "")


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides where a pod may go, apart from amounts. Built by `shape_of`; equal shapes share masks."""

    signature: bytes
    node_selector: dict[str, str] = field(compare=False)
    terms: list[Object] | None = field(compare=False)
    tolerations: list[Object] = field(compare=False)


def shape_of(spec: Object) -> Shape:
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    selector, tolerations = spec.get("nodeSelector") or {}, spec.get("tolerations") or []
    terms = (affinity.get("nodeSelectorTerms") or []) if affinity else None
    signature = objects.encode([selector, terms, tolerations])
    return Shape(signature, selector, terms, tolerations)


UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def refusal(node: Object, shape: Shape) -> str | None:
    """Why a node takes no pod of this shape, in kube-scheduler's words; None when it does."""
    spec = objects.spec(node)
    if spec.get("unschedulable") and not tolerates(shape.tolerations, UNSCHEDULABLE):
        return "node(s) were unschedulable"
    for taint in spec.get("taints") or ():
        if taint["effect"] in ("NoSchedule", "NoExecute") and not tolerates(shape.tolerations, taint):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    labels = objects.labels(node)
    if any(labels.get(key) != value for key, value in shape.node_selector.items()):
        return "node(s) didn't match Pod's node affinity/selector"
    if shape.terms is not None and not any(_term_matches(term, node) for term in shape.terms):
        return "node(s) didn't match Pod's node affinity/selector"
    return None


def _term_matches(term: Object, node: Object) -> bool:
    wanted, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not wanted and not fields:
        return False
    named = {"metadata.name": objects.name(node)}
    return all(r.matches(objects.labels(node)) for r in selectors.expressions(wanted)) and all(
        r.matches(named) for r in selectors.expressions(fields)
    )


@dataclass(slots=True)
class _Mask:
    """For one shape: which rows it may use, why not, and how unwelcome it is (PreferNoSchedule taints)."""

    allowed: NDArray[np.bool_]
    why: list[str | None]
    dislike: NDArray[np.float64]
    built_at: int


class NodeTable:
    """Rows are nodes; columns are resources, more of which appear as nodes offer them."""

    def __init__(self) -> None:
        self.columns: dict[str, int] = {name: index for index, name in enumerate(BASE)}
        self.rows: dict[str, int] = {}
        self._nodes: list[Object | None] = []
        self._free_rows: list[int] = []
        self._offered = np.zeros((0, len(BASE)), np.int64)
        self._used = np.zeros((0, len(BASE)), np.int64)
        self._alive = np.zeros(0, np.bool_)
        self._changed = np.zeros(0, np.int64)
        self._version = 0
        self._masks: OrderedDict[bytes, _Mask] = OrderedDict()

    # -- keeping up

    def set_node(self, node: Object) -> bool:
        """Add or refresh a node. True when something that placement depends on differs."""
        name = objects.name(node)
        row = self.rows.get(name)
        fresh = row is None
        if row is None:
            row = self._new_row(name)
        offered = self._vector(quantities.amounts(objects.status(node).get("allocatable") or {}), grow=True)
        old = self._nodes[row]
        rules = old is None or (_rules(old) != _rules(node))
        sized = not np.array_equal(self._offered[row], offered)
        self._nodes[row] = node
        self._offered[row] = offered
        if rules:
            self._version += 1
            self._changed[row] = self._version
        return fresh or rules or sized

    def remove_node(self, name: str) -> None:
        row = self.rows.pop(name, None)
        if row is not None:
            self._alive[row] = False
            self._nodes[row] = None
            self._used[row] = 0
            self._offered[row] = 0
            self._free_rows.append(row)

    def take(self, node: str, amounts: Amounts) -> None:
        """Count a pod's requests on a node; a node that is not known is none of ours."""
        row = self.rows.get(node)
        if row is not None:
            self._used[row] += self._vector(amounts, grow=True)

    def release(self, node: str, amounts: Amounts) -> None:
        row = self.rows.get(node)
        if row is not None:
            self._used[row] -= self._vector(amounts, grow=True)

    def _new_row(self, name: str) -> int:
        if not self._free_rows:
            grown = max(16, len(self._nodes))
            start = len(self._nodes)
            self._nodes += [None] * grown
            self._offered = np.vstack([self._offered, np.zeros((grown, len(self.columns)), np.int64)])
            self._used = np.vstack([self._used, np.zeros((grown, len(self.columns)), np.int64)])
            self._alive = np.concatenate([self._alive, np.zeros(grown, np.bool_)])
            self._changed = np.concatenate([self._changed, np.zeros(grown, np.int64)])
            self._free_rows = list(range(start + grown - 1, start - 1, -1))
            self._masks.clear()
        row = self._free_rows.pop()
        self.rows[name] = row
        self._alive[row] = True
        return row

    def _vector(self, amounts: Amounts, *, grow: bool = False) -> NDArray[np.int64]:
        for name in amounts:
            if name not in self.columns and grow:
                self.columns[name] = len(self.columns)
                extra = np.zeros((len(self._nodes), 1), np.int64)
                self._offered = np.hstack([self._offered, extra])
                self._used = np.hstack([self._used, extra])
        vector = np.zeros(len(self.columns), np.int64)
        for name, amount in amounts.items():
            vector[self.columns[name]] = amount
        return vector

    # -- asking

    def _mask(self, shape: Shape) -> _Mask:
        mask = self._masks.get(shape.signature)
        if mask is None:
            size = len(self._nodes)
            mask = _Mask(np.zeros(size, np.bool_), [None] * size, np.zeros(size), -1)
            self._masks[shape.signature] = mask
            if len(self._masks) > _MASKS_KEPT:
                self._masks.popitem(last=False)
        else:
            self._masks.move_to_end(shape.signature)
        if mask.built_at < self._version:
            for row in np.nonzero(self._changed > mask.built_at)[0]:
                node = self._nodes[row]
                if node is not None:
                    mask.why[row] = why = refusal(node, shape)
                    mask.allowed[row] = why is None
                    mask.dislike[row] = _dislike(node, shape)
            mask.built_at = self._version
        return mask

    def place(self, shape: Shape, amounts: Amounts) -> str | None:
        """The best node: the one left emptiest (Kubernetes' LeastAllocated), or None when none fits."""
        if any(name not in self.columns and amount for name, amount in amounts.items()):
            return None
        mask = self._mask(shape)
        wanted = self._vector({name: amount for name, amount in amounts.items() if name in self.columns})
        asked = wanted > 0
        free = self._offered[:, asked] - self._used[:, asked]
        fits = self._alive & mask.allowed & (free >= wanted[asked]).all(axis=1)
        rows = np.nonzero(fits)[0]
        if not len(rows):
            return None
        offered = np.maximum(self._offered[rows, :2], 1)
        left = (offered - self._used[rows, :2] - wanted[:2]) / offered
        crowd = self._used[rows, 3] / np.maximum(self._offered[rows, 3], 1)  # spreads pods without requests
        best = rows[int(np.argmax(left.mean(axis=1) - crowd * 0.1 - mask.dislike[rows]))]
        node = self._nodes[best]
        return objects.name(node) if node is not None else None

    def explain(self, shape: Shape, amounts: Amounts) -> str:
        """Why no node fits, as kube-scheduler's FailedScheduling message has it."""
        mask = self._mask(shape)
        alive = np.nonzero(self._alive)[0]
        if not len(alive):
            return "no nodes available to schedule pods"
        reasons: Counter[str] = Counter()
        full = 0
        for row in alive:
            if not mask.allowed[row]:
                reasons[mask.why[row] or ""] += 1
                continue
            full += 1
            for name, amount in amounts.items():
                column = self.columns.get(name)
                free = int(self._offered[row, column] - self._used[row, column]) if column is not None else 0
                if amount > free:
                    reasons["Too many pods" if name == "pods" else f"Insufficient {name}"] += 1
        total = len(alive)
        listed = ", ".join(sorted(f"{count} {why}" for why, count in reasons.items()))
        tail = []
        if full:
            tail.append(f"{full} No preemption victims found for incoming pod")
        if total - full:
            tail.append(f"{total - full} Preemption is not helpful for scheduling")
        return (
            f"0/{total} nodes are available: {listed}. "
            f"preemption: 0/{total} nodes are available: {', '.join(sorted(tail))}."
        )


def _rules(node: Object) -> tuple[Any, ...]:
    spec = objects.spec(node)
    return objects.labels(node), spec.get("taints"), spec.get("unschedulable")


def _dislike(node: Object, shape: Shape) -> float:
    taints = objects.spec(node).get("taints") or ()
    return float(sum(t["effect"] == "PreferNoSchedule" and not tolerates(shape.tolerations, t) for t in taints))
