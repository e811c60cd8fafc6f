"""CustomResourceDefinitions: told that their names are accepted and their resources served."""

from __future__ import annotations

from simulator import objects
from simulator.cluster import Cluster
from simulator.store import Change

NAME = "definition"
SHELF = "customresourcedefinitions.apiextensions.k8s.io"


def install(cluster: Cluster) -> None:
    def on_definition(change: Change) -> None:
        cluster.queue.add(NAME, objects.name(change.object))

    cluster.store.subscribe(on_definition, SHELF)
    cluster.queue.register(NAME, lambda name: reconcile(cluster, name))


def reconcile(cluster: Cluster, name: str) -> None:
    definition = cluster.store.get(SHELF, "", name)
    if definition is None or objects.deleting(definition):
        return
    conditions, now = objects.status(definition).get("conditions") or [], cluster.now()
    accepted = ("NoConflicts", "no conflicts found")
    conditions = objects.set_condition(conditions, "NamesAccepted", "True", now, *accepted)
    served = ("InitialNamesAccepted", "the initial names have been accepted")
    conditions = objects.set_condition(conditions, "Established", "True", now, *served)
    stored = [version["name"] for version in definition["spec"]["versions"] if version.get("storage")]
    cluster.store.update(
        SHELF,
        objects.with_status(
            definition,
            conditions=conditions,
            acceptedNames=definition["spec"]["names"],
            storedVersions=stored,
        ),
    )
