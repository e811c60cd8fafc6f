"""A Deployment's counts and conditions. Source of the rules: Kubernetes' deployment controller."""

from __future__ import annotations

from shared.clock import parse_rfc3339, rfc3339
from simulator import objects
from simulator.cluster import Cluster
from simulator.controllers.rollout import surge_and_unavailable
from simulator.objects import Object


def _sum(sets: list[Object], key: str) -> int:
    return sum(objects.status(rs).get(key, 0) for rs in sets)


def complete(deployment: Object, new: Object | None, old: list[Object]) -> bool:
    """All replicas are of the new template and available, and no old pod is left."""
    wanted = deployment["spec"]["replicas"]
    if new is None:
        return False
    counts = objects.status(new)
    return (
        counts.get("replicas", 0) == wanted == counts.get("availableReplicas", 0)
        and _sum(old, "replicas") == 0
        and new["spec"].get("replicas") == wanted
    )


def write(cluster: Cluster, deployment: Object, new: Object | None, old: list[Object]) -> float | None:
    """Write the status if it differs. Returns when progress must be judged again, if ever."""
    sets = [*old, *([new] if new is not None else [])]
    wanted = deployment["spec"]["replicas"]
    available = _sum(sets, "availableReplicas")
    total = _sum(sets, "replicas")
    specified = sum(rs["spec"].get("replicas", 0) for rs in sets)
    counts = {
        "replicas": total,
        "updatedReplicas": _sum([new], "replicas") if new is not None else 0,
        "readyReplicas": _sum(sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, specified - available),
    }
    before = objects.status(deployment)
    conditions = _available(cluster, deployment, before.get("conditions") or [], available, wanted)
    conditions, deadline = _progressing(cluster, deployment, conditions, new, old, counts)
    status = {key: value for key, value in counts.items() if value}
    status["observedGeneration"] = deployment["metadata"].get("generation", 1)
    status["conditions"] = conditions
    for key in before.keys() - status.keys() - counts.keys():
        status[key] = before[key]
    if status != before:
        cluster.store.update("deployments.apps", {**deployment, "status": status})
    return deadline


def _available(
    cluster: Cluster, deployment: Object, conditions: list[Object], available: int, wanted: int
) -> list[Object]:
    _, unavailable = surge_and_unavailable(deployment)
    if available >= wanted - unavailable:
        state = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        state = (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    return _set(cluster, conditions, "Available", *state)


def _set(cluster: Cluster, conditions: list[Object], kind: str, value: str, reason: str, message: str) -> list[Object]:
    stamp = rfc3339(cluster.now())
    return objects.set_condition(conditions, kind, value, cluster.now(), reason, message, lastUpdateTime=stamp)


def _progressing(
    cluster: Cluster,
    deployment: Object,
    conditions: list[Object],
    new: Object | None,
    old: list[Object],
    counts: dict[str, int],
) -> tuple[list[Object], float | None]:
    """The Progressing condition, and when its deadline passes."""
    seconds = deployment["spec"].get("progressDeadlineSeconds", 600)
    known = next((entry for entry in conditions if entry["type"] == "Progressing"), None)
    name = objects.name(new) if new is not None else objects.name(deployment)
    if deployment["spec"].get("paused"):
        paused = ("Unknown", "DeploymentPaused", "Deployment is paused")
        return _set(cluster, conditions, "Progressing", *paused), None
    if known is not None and known.get("reason") == "DeploymentPaused":
        resumed = ("Unknown", "DeploymentResumed", "Deployment is resumed")
        conditions = _set(cluster, conditions, "Progressing", *resumed)
    if complete(deployment, new, old):
        done = f'ReplicaSet "{name}" has successfully progressed.'
        return _set(cluster, conditions, "Progressing", "True", "NewReplicaSetAvailable", done), None
    if known is None or (known.get("reason") == "NewReplicaSetAvailable" and f'"{name}"' not in known["message"]):
        created = f'Created new replica set "{name}"'
        conditions, known = _touch(cluster, conditions, known, "NewReplicaSetCreated", created)
    elif _moved(objects.status(deployment), counts, known):
        moving = f'ReplicaSet "{name}" is progressing.'
        conditions, known = _touch(cluster, conditions, known, "ReplicaSetUpdated", moving)
    if known.get("reason") == "NewReplicaSetAvailable":  # complete once, e.g. a pod died: no new rollout
        return conditions, None
    deadline = parse_rfc3339(known.get("lastUpdateTime") or known["lastTransitionTime"]) + seconds
    if cluster.now() >= deadline:
        late = f'ReplicaSet "{name}" has timed out progressing.'
        return _set(cluster, conditions, "Progressing", "False", "ProgressDeadlineExceeded", late), None
    return conditions, deadline


def _touch(
    cluster: Cluster, conditions: list[Object], known: Object | None, reason: str, text: str
) -> tuple[list[Object], Object]:
    """Progressing=True, its update time renewed; the conditions and that one."""
    stamp = rfc3339(cluster.now())
    since = known["lastTransitionTime"] if known is not None and known["status"] == "True" else stamp
    entry = {
        "type": "Progressing",
        "status": "True",
        "lastUpdateTime": stamp,
        "lastTransitionTime": since,
        "reason": reason,
        "message": text,
    }
    return [*(old for old in conditions if old["type"] != "Progressing"), entry], entry


def _moved(before: Object, counts: dict[str, int], known: Object | None) -> bool:
    """Since the last status: more new, fewer old, more ready or available replicas."""
    if known is not None and known.get("reason") == "DeploymentResumed":
        return True

    def old(status: Object) -> int:
        return int(status.get("replicas", 0)) - int(status.get("updatedReplicas", 0))

    return (
        counts["updatedReplicas"] > before.get("updatedReplicas", 0)
        or old(counts) < old(before)
        or counts["readyReplicas"] > before.get("readyReplicas", 0)
        or counts["availableReplicas"] > before.get("availableReplicas", 0)
    )
