"""ControllerRevisions: the history of templates that StatefulSets and DaemonSets keep."""

from __future__ import annotations

from simulator import objects
from simulator.cluster import Cluster
from simulator.controllers import pods
from simulator.objects import Object, deep

SHELF = "controllerrevisions.apps"
HASH = "controller-revision-hash"


def current(cluster: Cluster, owner: Object) -> tuple[Object, list[Object]]:
    """The revision of the owner's present template, made if need be, and all its revisions, oldest first."""
    template = owner["spec"]["template"]
    data = {"spec": {"template": {**deep(template), "$patch": "replace"}}}
    history = sorted(cluster.store.owned(objects.uid(owner), SHELF), key=lambda one: one["revision"])
    number = history[-1]["revision"] + 1 if history else 1
    for known in history:
        if known["data"] == data:
            if known is not history[-1]:
                known = cluster.store.update(SHELF, {**known, "revision": number})
            return known, history
    digest = pods.template_hash(template, number if _taken(cluster, owner, template) else 0)
    made = cluster.store.create(
        SHELF,
        {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": f"{objects.name(owner)}-{digest}",
                "namespace": objects.namespace(owner),
                "labels": {
                    **((template.get("metadata") or {}).get("labels") or {}),
                    HASH: f"{objects.name(owner)}-{digest}",
                },
                "ownerReferences": [objects.controller_reference(owner)],
            },
            "data": data,
            "revision": number,
        },
    )
    return made, [*history, made]


def _taken(cluster: Cluster, owner: Object, template: Object) -> bool:
    name = f"{objects.name(owner)}-{pods.template_hash(template)}"
    return cluster.store.get(SHELF, objects.namespace(owner), name) is not None


def template_of(history: list[Object], name: str, fallback: Object) -> Object:
    """The pod template that a revision holds."""
    for known in history:
        if objects.name(known) == name:
            return {k: v for k, v in known["data"]["spec"]["template"].items() if k != "$patch"}
    return fallback


def trim(cluster: Cluster, owner: Object, history: list[Object], used: set[str]) -> None:
    """Keep revisionHistoryLimit revisions besides those in use."""
    idle = [known for known in history if objects.name(known) not in used]
    for known in idle[: max(0, len(idle) - owner["spec"].get("revisionHistoryLimit", 10))]:
        cluster.store.remove(SHELF, objects.namespace(known), objects.name(known))
