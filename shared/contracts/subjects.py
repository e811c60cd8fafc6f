"""Every NATS subject of brim, built and read in one place.

A token may not be empty nor hold '.', '*', '>', or white space, and names hold dots, so each part goes
through one reversible encoding: what is not alphanumeric or '-', '_', '~' becomes %XX of its UTF-8 bytes, the
empty part becomes '%', and a part that is just '_' is escaped because '_' stands for cluster scope.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from shared.contracts.refs import ObjectRef
from shared.numbers import whole

APPLY = "brim.apply"
DELETE = "brim.delete"
SCALE = "brim.scale"
CORDON = "brim.cordon"
ROLL = "brim.roll"
PLAN = "brim.plan"
CLUSTER_SCOPE = "_"

_PLAIN = re.compile(r"[A-Za-z0-9_~-]+")


def encode(part: str) -> str:
    """One token. `decode(encode(x)) == x` for every string."""
    if part == CLUSTER_SCOPE:
        return "%5F"
    if _PLAIN.fullmatch(part):  # as most
        return part
    if part == "":
        return "%"
    return quote(part, safe="").replace(".", "%2E")


def decode(token: str) -> str:
    return "" if token == "%" else unquote(token)


def kind_token(kind: str, group: str) -> str:
    """<Kind>~<group>: Argo and Kruise both have a Rollout. The first '~' parts them, so a kind's own is escaped."""
    return f"{encode(kind).replace('~', '%7E')}~{encode(group) if group else ''}"


def _object(ref: ObjectRef) -> str:
    namespace = encode(ref.namespace) if ref.namespace else CLUSTER_SCOPE
    return f"{kind_token(ref.kind, ref.group)}.{namespace}.{encode(ref.name)}"


def submit(verb: str) -> str:
    return f"brim.submit.{encode(verb)}"


def desired(ref: ObjectRef) -> str:
    return f"brim.desired.{_object(ref)}"


def desired_kind(kind: str, group: str) -> str:
    """Filter: all desired objects of one kind."""
    return f"brim.desired.{kind_token(kind, group)}.>"


def revision(uid: str, number: int) -> str:
    return f"brim.revision.{encode(uid)}.{number}"


def revisions(uid: str) -> str:
    """Filter: all revisions of one object."""
    return f"brim.revision.{encode(uid)}.>"


def revision_of(subject: str) -> tuple[str, int] | None:
    """(uid, number) of a revision's subject; None for a subject of another form."""
    *before, uid, text = subject.split(".")
    number = whole(text)
    return (decode(uid), number) if len(before) == 2 and number is not None else None


def capacity(member: str) -> str:
    return f"brim.capacity.{encode(member)}"


def snapshot(member: str) -> str:
    """Request/reply: asks inventory for a new capacity snapshot of a member."""
    return f"brim.snapshot.{encode(member)}"


def pod(member: str, namespace: str, name: str) -> str:
    return f"brim.pod.{encode(member)}.{encode(namespace)}.{encode(name)}"


def pods(member: str) -> str:
    """Filter: every pod that is told of a member."""
    return f"brim.pod.{encode(member)}.>"


def pods_everywhere(namespace: str) -> str:
    """Filter: every pod of a namespace that is told, in all members."""
    return f"brim.pod.*.{encode(namespace)}.*"


def pod_of(subject: str) -> tuple[str, str, str]:
    """(member, namespace, name) of a pod's or a binding's subject. Raises ValueError for one of another form."""
    _, _, member, namespace, name = subject.split(".")
    return decode(member), decode(namespace), decode(name)


def cost(member: str, ref: ObjectRef) -> str:
    return f"brim.cost.{encode(member)}.{_object(ref)}"


def costs(member: str) -> str:
    """Filter: every cost in a member."""
    return f"brim.cost.{encode(member)}.>"


def status(member: str, ref: ObjectRef) -> str:
    return f"brim.status.{encode(member)}.{_object(ref)}"


def statuses(member: str) -> str:
    """Filter: the status of every object in a member."""
    return f"brim.status.{encode(member)}.>"


def placement(ref: ObjectRef) -> str:
    return f"brim.placement.{_object(ref)}"


def binding(member: str, namespace: str, name: str) -> str:
    return f"brim.binding.{encode(member)}.{encode(namespace)}.{encode(name)}"


def bindings(member: str) -> str:
    """Filter: every order about pods of a member."""
    return f"brim.binding.{encode(member)}.>"


def rebalance(ref: ObjectRef) -> str:
    return f"brim.rebalance.{_object(ref)}"


def action(service: str, verb: str) -> str:
    return f"brim.action.{encode(service)}.{encode(verb)}"


def actions(service: str) -> str:
    """Filter: every action for a service."""
    return f"brim.action.{encode(service)}.>"


def acting(identifier: str) -> str:
    """Where whoever asks for an action hears what comes of it; kept by nobody."""
    return f"brim.acting.{encode(identifier)}"


def acted(identifier: str, member: str) -> str:
    """What came of an action in one member."""
    return f"brim.acted.{encode(identifier)}.{encode(member)}"


def outcome(member: str, ref: ObjectRef) -> str:
    return f"brim.outcome.{encode(member)}.{_object(ref)}"


def status_everywhere(ref: ObjectRef) -> str:
    """Filter: one object's status in all members."""
    return f"brim.status.*.{_object(ref)}"


def outcome_everywhere(ref: ObjectRef) -> str:
    """Filter: one object's outcomes in all members."""
    return f"brim.outcome.*.{_object(ref)}"


def rejected(service: str) -> str:
    return f"brim.rejected.{encode(service)}"


def read(member: str) -> str:
    """Request/reply: inventory's caches of one member."""
    return f"brim.read.{encode(member)}"


def object_key(subject: str, *, skip: int = 2) -> tuple[str, str, str, str]:
    """(kind, group, namespace, name) of a subject that ends in <kind>.<namespace>.<name>.

    skip: how many tokens stand before: 2 for desired, placement, rebalance; 3 for status and outcome.
    Of a subject of another form, which anybody can publish on, it is a key that no object has: no kind, and the
    subject for a name.
    """
    tokens = subject.split(".")
    kind, separator, group = tokens[skip].partition("~") if len(tokens) == skip + 3 else ("", "", "")
    if not separator:
        return ("", "", "", subject)
    namespace, name = tokens[skip + 1 :]
    return (
        decode(kind),
        decode(group),
        "" if namespace == CLUSTER_SCOPE else decode(namespace),
        decode(name),
    )


def member_of(subject: str) -> str:
    """The member in brim.<stream>.<member>…"""
    return decode(subject.split(".")[2])
