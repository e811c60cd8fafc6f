"""What controllers share about pods: making them from a template, counting them, ending them."""

from __future__ import annotations

import hashlib
from typing import Any

from shared.clock import parse_rfc3339, rfc3339
from simulator import admission, defaults, objects, selectors
from simulator.cluster import Cluster
from simulator.objects import Object, deep
from simulator.registry import qos_class
from simulator.statuses import ApiError

REFUSED_AGAIN = 10.0  # fleet seconds
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def template_hash(template: Object, collisions: int = 0) -> str:
    """A short name for a pod template, as Kubernetes' pod-template-hash looks."""
    digest = hashlib.sha256(objects.encode([_sorted(template), collisions])).digest()
    number = int.from_bytes(digest[:4], "big")
    return "".join(_LETTERS[ord(digit) % len(_LETTERS)] for digit in str(number))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def create(cluster: Cluster, owner: Object, template: Object, name: str = "", **labels: str) -> Object | None:
    """Create a pod from a template, controlled by `owner`. A name is made up when none is given.

    None where admission refuses it: the owner's events say why, and it is to be tried `again`.
    """
    metadata = deep(template.get("metadata") or {})
    metadata.pop("creationTimestamp", None)
    metadata["namespace"] = objects.namespace(owner)
    if name:
        metadata["name"] = name
    else:
        metadata["generateName"] = f"{objects.name(owner)}-"
        metadata["name"] = f"{objects.name(owner)[:57]}-{cluster.suffix()}"
    if labels:
        metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    metadata["ownerReferences"] = [objects.controller_reference(owner)]
    metadata["generation"] = 1
    pod: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": deep(template["spec"])}
    defaults.finish_pod(pod)
    try:
        admission.admit(cluster.store, pod)
    except ApiError as error:
        source = f"{owner['kind'].lower()}-controller"
        cluster.event(owner, source, "FailedCreate", f"Error creating: {error}", warning=True)
        return None
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(pod)}
    return cluster.store.create("pods", pod)


def again(cluster: Cluster) -> float:
    """When to try a pod again that admission refused."""
    return cluster.now() + REFUSED_AGAIN


def delete(cluster: Cluster, pod: Object) -> None:
    """Ask for a pod's end: at once when no kubelet runs it, else gracefully."""
    if objects.deleting(pod):
        return
    runs = pod["spec"].get("nodeName") and not objects.finished(pod)
    grace = int(pod["spec"].get("terminationGracePeriodSeconds", 30)) if runs else 0
    cluster.store.update(
        "pods",
        objects.with_meta(
            pod,
            deletionTimestamp=rfc3339(cluster.now() + grace),
            deletionGracePeriodSeconds=grace,
        ),
    )


def claimed(cluster: Cluster, owner: Object, shelf: str = "pods") -> list[Object]:
    """The objects that `owner` controls, after adopting matching ones that nobody controls."""
    store = cluster.store
    own = [
        obj
        for obj in store.owned(objects.uid(owner), shelf)
        if (reference := objects.controller(obj)) and reference["uid"] == objects.uid(owner)
    ]
    orphans = store.orphans(shelf, objects.namespace(owner))
    if not orphans or objects.deleting(owner):
        return own
    selector = selectors.from_spec(owner["spec"].get("selector"))
    for orphan in orphans:
        if not objects.deleting(orphan) and selector.matches(objects.labels(orphan)):
            references = [
                *(orphan["metadata"].get("ownerReferences") or ()),
                objects.controller_reference(owner),
            ]
            own.append(store.update(shelf, objects.with_meta(orphan, ownerReferences=references)))
    return own


def active(pods: list[Object]) -> list[Object]:
    return [pod for pod in pods if not objects.finished(pod) and not objects.deleting(pod)]


def available_at(pod: Object, min_ready: int) -> float:
    """Fleet time from which a ready pod counts as available; infinity while it is not ready."""
    found = objects.condition(pod, "Ready")
    if found is None or found["status"] != "True":
        return float("inf")
    return parse_rfc3339(found["lastTransitionTime"]) + min_ready if min_ready else 0.0


def template_matches(one: Object, other: Object, ignored: str = "pod-template-hash") -> bool:
    """Equal templates, one label aside."""

    def bare(template: Object) -> Object:
        metadata = template.get("metadata") or {}
        labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != ignored}
        rest = {k: v for k, v in metadata.items() if k not in ("labels", "creationTimestamp")}
        return {**template, "metadata": {**rest, "labels": labels}}

    return bare(one) == bare(other)
