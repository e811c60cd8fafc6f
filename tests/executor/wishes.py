"""A wish, and what is known of the member's object."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from services.executor.core import marks
from services.executor.core.live import Live, mapping
from services.executor.core.target import Target
from services.executor.core.writes import Known, known_of
from shared.contracts.base import JsonObject
from shared.contracts.refs import ObjectRef, Order
from shared.workloads import kind_of

UID = "workload-1"
ORDER = Order(epoch=1, counter=7)
OLDER = Order(epoch=1, counter=6)
NEWER = Order(epoch=1, counter=8)

DEPLOYMENT: JsonObject = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "test", "labels": {"app": "web"}, "resourceVersion": "99"},
    "spec": {
        "replicas": 9,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    },
    "status": {"replicas": 9},
}
JOB: JsonObject = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "web", "namespace": "test"},
    "spec": {"parallelism": 9, "completions": 9, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
}
NAMESPACE: JsonObject = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "test"}}
CONFIG_MAP: JsonObject = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web", "namespace": "test"}}
NEW_IMAGE: JsonObject = {
    **DEPLOYMENT,
    "spec": {
        **mapping(DEPLOYMENT["spec"]),
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i2"}]}},
    },
}


def wish(manifest: JsonObject = DEPLOYMENT, **changes: Any) -> Target:
    ref = ObjectRef.of(manifest)
    kind = kind_of(ref.kind, ref.group)
    base = Target(
        ref, UID, ORDER, manifest, kind, kind is not None and kind.divisible, replicas=3, revision=1 if kind else 0
    )
    return replace(base, **changes)


def live_of(target: Target, **changes: Any) -> Live:
    """The object as brim leaves it when the target is carried out."""
    digest = marks.digest_of(marks.body(target))
    owners = frozenset({"brim-replicas"}) if target.divided else frozenset[str]()
    live = Live(
        uid="object-1",
        resource_version="5",
        managed=True,
        workload=target.uid,
        order=target.order,
        revision=target.revision,
        applied=digest,
        fields="f1",
        replicas=target.replicas if target.kind else None,
        completions=target.completions,
        count_owners=owners,
    )
    return replace(live, **changes)


def remembered(target: Target) -> Known:
    known = known_of(live_of(target))
    assert known is not None
    return known


FOREIGN = Live(uid="object-9", replicas=5, count_owners=frozenset({"kubectl"}))
