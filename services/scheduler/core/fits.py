"""Whether a node's class takes a shape: taints, nodeSelector, required node affinity.

The rules are kube-scheduler's TaintToleration, NodeAffinity and NodeUnschedulable filters. kubernetes.io/hostname
and metadata.name are no part of a class; where a shape asks for them, it is decided row by row.
"""

from __future__ import annotations

from services.scheduler.core.constraints import Taint, Term
from services.scheduler.core.nodes import Class
from services.scheduler.core.values import HOSTNAME, Shape

UNSCHEDULABLE = Taint("node.kubernetes.io/unschedulable")


def asks_for_names(shape: Shape) -> bool:
    """The shape names nodes, not only their labels."""
    return any(key == HOSTNAME for key, _ in shape.node_selector) or any(
        term.fields or any(expression.key == HOSTNAME for expression in term.expressions) for term in shape.affinity
    )


def named(shape: Shape) -> frozenset[str] | None:
    """The only nodes that can match, where the shape lists them; None for any."""
    for key, value in shape.node_selector:
        if key == HOSTNAME:
            return frozenset([value])
    found: set[str] = set()
    for term in shape.affinity:
        listed = [e.values for e in (*term.fields, *term.expressions) if e.operator == "In" and _is_name(e.key)]
        if not listed:
            return None
        found.update(listed[0])
    return frozenset(found) if shape.affinity else None


def _is_name(key: str) -> bool:
    return key in (HOSTNAME, "metadata.name")


def untolerated(shape: Shape, facts: Class) -> Taint | None:
    """The first taint that keeps the shape away."""
    taints = (*facts.taints, UNSCHEDULABLE) if facts.unschedulable else facts.taints
    for taint in taints:
        if taint.effect in ("NoSchedule", "NoExecute") and not any(t.tolerates(taint) for t in shape.tolerations):
            return taint
    return None


def selects(shape: Shape, facts: Class, name: str | None = None) -> bool:
    """nodeSelector and affinity. name: the node's; without it nothing that asks for names matches."""
    labels = facts.labels if name is None or HOSTNAME in facts.labels else {**facts.labels, HOSTNAME: name}
    if any(labels.get(key) != value for key, value in shape.node_selector):
        return False
    return not shape.affinity or any(_term(term, labels, name) for term in shape.affinity)


def is_among(terms: tuple[Term, ...], facts: Class) -> bool:
    """Whether the class is one of those that the terms describe; none describe all."""
    return not terms or any(_term(term, facts.labels, None) for term in terms)


def _term(term: Term, labels: dict[str, str], name: str | None) -> bool:
    if not term.expressions and not term.fields:
        return False
    fields = {} if name is None else {"metadata.name": name}
    return all(e.matches(labels) for e in term.expressions) and all(e.matches(fields) for e in term.fields)


def takes(shape: Shape, facts: Class, name: str | None = None) -> bool:
    return untolerated(shape, facts) is None and selects(shape, facts, name)
