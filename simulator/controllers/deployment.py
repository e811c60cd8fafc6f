"""Deployment: ReplicaSets per template, rolled from the old to the new."""

from __future__ import annotations

from simulator import objects
from simulator.cluster import Cluster
from simulator.controllers import deployment_status, pods, rollout
from simulator.controllers.rollout import surge_and_unavailable
from simulator.kruise import marks, steps
from simulator.objects import Object, deep
from simulator.store import Change

NAME = "deployment"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
_NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        HISTORY,
        DESIRED,
        MAXIMUM,
        "deprecated.deployment.rollback.to",
    }
)


def install(cluster: Cluster) -> None:
    def on_deployment(change: Change) -> None:
        cluster.queue.add(NAME, (objects.namespace(change.object), objects.name(change.object)))

    def on_set(change: Change) -> None:
        cluster.requeue_owner(change, "Deployment", NAME)

    def on_pod(change: Change) -> None:
        if change.type == "DELETED":
            _wake_recreate(cluster, change.object)

    cluster.store.subscribe(on_deployment, "deployments.apps")
    cluster.store.subscribe(on_set, "replicasets.apps")
    cluster.store.subscribe(on_pod, "pods")
    cluster.queue.register(NAME, lambda key: reconcile(cluster, key))


def _wake_recreate(cluster: Cluster, pod: Object) -> None:
    """A Recreate rollout waits until the old pods are truly gone."""
    owner = objects.controller(pod)
    if owner is None or owner["kind"] != "ReplicaSet":
        return
    replicaset = cluster.store.get("replicasets.apps", objects.namespace(pod), owner["name"])
    above = objects.controller(replicaset) if replicaset is not None else None
    if above is not None:
        cluster.queue.add(NAME, (objects.namespace(pod), above["name"]))


def reconcile(cluster: Cluster, key: tuple[str, str]) -> None:
    deployment = cluster.store.get("deployments.apps", *key)
    if deployment is None or objects.deleting(deployment):
        return
    sets = pods.claimed(cluster, deployment, "replicasets.apps")
    template = deployment["spec"]["template"]
    matching = [rs for rs in sets if pods.template_matches(rs["spec"]["template"], template)]
    new = min(matching, key=_birth, default=None)
    old = [rs for rs in sets if new is None or objects.uid(rs) != objects.uid(new)]
    partition = marks.wanted_new(deployment)
    if partition is not None and not marks.stands_still(deployment):
        _hold(cluster, deployment, new, old, steps.batch_size(partition, deployment["spec"]["replicas"]))
    elif deployment["spec"].get("paused") or _was_scaled(deployment, sets):
        if new is not None:
            new = _renew(cluster, deployment, new, old)
        _scale_all(cluster, deployment, new, old)
    elif deployment["spec"]["strategy"]["type"] == "Recreate":
        _recreate(cluster, deployment, new, old)
    else:
        _roll(cluster, deployment, new, old)
    _finish(cluster, key)


def _birth(replicaset: Object) -> tuple[str, str]:
    return replicaset["metadata"]["creationTimestamp"], objects.name(replicaset)


def _finish(cluster: Cluster, key: tuple[str, str]) -> None:
    """Clean up old sets, then write the status from what is stored now."""
    deployment = cluster.store.get("deployments.apps", *key)
    if deployment is None:
        return
    sets = pods.claimed(cluster, deployment, "replicasets.apps")
    template = deployment["spec"]["template"]
    matching = [rs for rs in sets if pods.template_matches(rs["spec"]["template"], template)]
    new = min(matching, key=_birth, default=None)
    old = [rs for rs in sets if new is None or objects.uid(rs) != objects.uid(new)]
    deadline = deployment_status.write(cluster, deployment, new, old)
    if deadline is not None:
        cluster.queue.add_at(NAME, key, deadline)
    if deployment_status.complete(deployment, new, old):
        _clean_up(cluster, deployment, old)


def _size(replicaset: Object) -> int:
    return int(replicaset["spec"].get("replicas", 0))


def _available(replicaset: Object) -> int:
    return int(objects.status(replicaset).get("availableReplicas", 0))


# -- scaling


def _was_scaled(deployment: Object, sets: list[Object]) -> bool:
    """Some active set last saw another number of wanted replicas."""
    wanted = str(deployment["spec"]["replicas"])
    return any(
        _size(rs) > 0 and DESIRED in objects.annotations(rs) and objects.annotations(rs)[DESIRED] != wanted
        for rs in sets
    )


def _scale_all(cluster: Cluster, deployment: Object, new: Object | None, old: list[Object]) -> None:
    wanted = deployment["spec"]["replicas"]
    live = [rs for rs in [*old, *([new] if new else [])] if _size(rs) > 0]
    if len(live) <= 1:
        only = live[0] if live else new
        if only is not None:
            _resize(cluster, deployment, only, wanted)
        return
    if new is not None and _saturated(new, wanted):
        for replicaset in old:
            _resize(cluster, deployment, replicaset, 0)
        return
    if deployment["spec"]["strategy"]["type"] != "RollingUpdate":
        return
    surge, _ = surge_and_unavailable(deployment)
    growing = wanted + surge > sum(map(_size, live))
    live.sort(key=_birth, reverse=growing)
    live.sort(key=_size, reverse=True)
    sizes = [rollout.SetSize(_size(rs), int(objects.annotations(rs).get(MAXIMUM, 0))) for rs in live]
    for replicaset, size in zip(live, rollout.proportional(sizes, wanted, surge), strict=True):
        _resize(cluster, deployment, replicaset, size)


def _saturated(replicaset: Object, wanted: int) -> bool:
    seen = objects.annotations(replicaset).get(DESIRED)
    return _size(replicaset) == wanted == _available(replicaset) and seen == str(wanted)


def _resize(cluster: Cluster, deployment: Object, replicaset: Object, size: int) -> None:
    surge, _ = surge_and_unavailable(deployment)
    wanted = deployment["spec"]["replicas"]
    before = _size(replicaset)
    marks = {DESIRED: str(wanted), MAXIMUM: str(wanted + surge)}
    new = objects.with_annotations(replicaset, **marks)
    if size != before:
        generation = replicaset["metadata"].get("generation", 1) + 1
        new = objects.with_meta(objects.with_spec(new, replicas=size), generation=generation)
        _tell_scaled(cluster, deployment, replicaset, before, size)
    cluster.store.update("replicasets.apps", new)


def _tell_scaled(cluster: Cluster, deployment: Object, replicaset: Object, before: int, size: int) -> None:
    direction = "up" if size > before else "down"
    message = f"Scaled {direction} replica set {objects.name(replicaset)} from {before} to {size}"
    cluster.event(deployment, "deployment-controller", "ScalingReplicaSet", message)


# -- rolling


def _roll(cluster: Cluster, deployment: Object, new: Object | None, old: list[Object]) -> None:
    new = _renew(cluster, deployment, new, old)
    wanted = deployment["spec"]["replicas"]
    surge, unavailable = surge_and_unavailable(deployment)
    total = _size(new) + sum(map(_size, old))
    if _size(new) > wanted:
        _resize(cluster, deployment, new, wanted)
    elif _size(new) < wanted and total < wanted + surge:
        _resize(cluster, deployment, new, _size(new) + min(wanted + surge - total, wanted - _size(new)))
    elif _size(new) == wanted and objects.annotations(new).get(DESIRED) != str(wanted):
        _resize(cluster, deployment, new, wanted)
    else:
        _shrink_old(cluster, deployment, new, old, wanted - unavailable)


def _shrink_old(
    cluster: Cluster,
    deployment: Object,
    new: Object,
    old: list[Object],
    least_available: int,
    least_old: int | None = None,
) -> None:
    """Unavailable old pods go first, then available ones as far as the minimum allows.

    least_old: so many of them stay in all, for one that Kruise holds: there the youngest templates go first.
    """
    live = sorted((rs for rs in old if _size(rs) > 0), key=_birth)
    new_unavailable = _size(new) - _available(new)
    budget = sum(map(_size, live)) + _size(new) - least_available - new_unavailable
    budget = min(budget, sum(map(_size, live)) - (least_old or 0))
    if not live or budget <= 0:
        return
    targets = {objects.name(rs): _size(rs) for rs in live}
    for replicaset in live:
        down = min(budget, _size(replicaset) - _available(replicaset))
        if down > 0:
            targets[objects.name(replicaset)] -= down
            budget -= down
    spare = sum(map(_available, live)) + _available(new) - least_available
    spare = min(spare, sum(targets.values()) - (least_old or 0))
    for replicaset in live if least_old is None else sorted(live, key=_revision, reverse=True):
        down = max(0, min(spare, targets[objects.name(replicaset)]))
        targets[objects.name(replicaset)] -= down
        spare -= down
    for replicaset in live:
        if targets[objects.name(replicaset)] != _size(replicaset):
            _resize(cluster, deployment, replicaset, targets[objects.name(replicaset)])


def _recreate(cluster: Cluster, deployment: Object, new: Object | None, old: list[Object]) -> None:
    live = [rs for rs in old if _size(rs) > 0]
    for replicaset in live:
        _resize(cluster, deployment, replicaset, 0)
    still = [pod for rs in old for pod in cluster.store.owned(objects.uid(rs), "pods") if not objects.finished(pod)]
    if live or still:
        return
    new = _renew(cluster, deployment, new, old)
    if _size(new) != deployment["spec"]["replicas"]:
        _resize(cluster, deployment, new, deployment["spec"]["replicas"])


def _hold(cluster: Cluster, deployment: Object, new: Object | None, old: list[Object], size: int) -> None:
    """size: so many pods of the new template and no more, as Kruise's own controller of Deployments keeps them.

    The rest are of older templates, whichever they are: those of the youngest make way first. A new template that has
    more pods than it is to have, because it came back, keeps them.
    """
    new = _renew(cluster, deployment, new, old)
    wanted = deployment["spec"]["replicas"]
    surge, unavailable = surge_and_unavailable(deployment)
    live = [rs for rs in old if _size(rs) > 0]
    least_old = wanted - max(size, _size(new))
    before = sum(map(_size, live))
    room = wanted + surge - _size(new) - before
    if _was_scaled(deployment, [*live, new]):
        _share_out(cluster, deployment, [*live, new])
    elif _size(new) > wanted:
        _resize(cluster, deployment, new, wanted)
    elif _size(new) < size and room > 0:
        _resize(cluster, deployment, new, _size(new) + min(room, size - _size(new)))
    elif live and before < least_old:
        largest = min(live, key=lambda rs: (-_size(rs), _birth(rs)))
        _resize(cluster, deployment, largest, _size(largest) + least_old - before)
    elif before > least_old:
        _shrink_old(cluster, deployment, new, live, wanted - unavailable, least_old)


def _share_out(cluster: Cluster, deployment: Object, sets: list[Object]) -> None:
    """A Deployment that Kruise holds was scaled: each of its sets by its size; there is no surge then."""
    wanted = deployment["spec"]["replicas"]
    growing = wanted > sum(map(_size, sets))
    live = sorted(sets, key=_birth, reverse=growing)
    live.sort(key=_size, reverse=True)
    sizes = [rollout.SetSize(_size(rs), int(objects.annotations(rs).get(DESIRED, 0))) for rs in live]
    for replicaset, size in zip(live, rollout.proportional(sizes, wanted, 0), strict=True):
        _resize(cluster, deployment, replicaset, size)


# -- the new ReplicaSet


def _revision(replicaset: Object) -> int:
    return int(objects.annotations(replicaset).get(REVISION, 0))


def _renew(cluster: Cluster, deployment: Object, new: Object | None, old: list[Object]) -> Object:
    """The ReplicaSet of the present template, created if need be, with its revision up to date."""
    revision = max(map(_revision, old), default=0) + 1
    if new is None:
        new = _create_set(cluster, deployment, old, revision)
    else:
        new = _update_set(cluster, deployment, new, revision)
    marked = str(_revision(new))
    if objects.annotations(deployment).get(REVISION) != marked:
        current = cluster.store.get("deployments.apps", objects.namespace(deployment), objects.name(deployment))
        if current is not None:
            cluster.store.update("deployments.apps", objects.with_annotations(current, **{REVISION: marked}))
    return new


def _copied(deployment: Object) -> dict[str, str]:
    return {key: value for key, value in objects.annotations(deployment).items() if key not in _NOT_COPIED}


def _update_set(cluster: Cluster, deployment: Object, new: Object, revision: int) -> Object:
    wanted = _copied(deployment)
    if _revision(new) < revision:
        wanted[REVISION] = str(revision)
        if past := objects.annotations(new).get(REVISION):
            known = objects.annotations(new).get(HISTORY)
            wanted[HISTORY] = f"{known},{past}" if known else past
    result = objects.with_annotations(new, **wanted)
    min_ready = deployment["spec"].get("minReadySeconds")
    if min_ready != new["spec"].get("minReadySeconds"):
        result = objects.with_spec(result, minReadySeconds=min_ready)
    return cluster.store.update("replicasets.apps", result)


def _create_set(cluster: Cluster, deployment: Object, old: list[Object], revision: int) -> Object:
    spec = deployment["spec"]
    surge, _ = surge_and_unavailable(deployment)
    room = spec["replicas"] + surge - sum(map(_size, old))
    size = 0 if marks.in_progress(deployment) else max(0, min(spec["replicas"], room))
    name, digest = _free_name(cluster, deployment)
    template = deep(spec["template"])
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    labels["pod-template-hash"] = digest
    selector = deep(spec["selector"])
    selector.setdefault("matchLabels", {})["pod-template-hash"] = digest
    new = cluster.store.create(
        "replicasets.apps",
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": name,
                "namespace": objects.namespace(deployment),
                "generation": 1,
                "labels": dict(labels),
                "annotations": {
                    **_copied(deployment),
                    REVISION: str(revision),
                    DESIRED: str(spec["replicas"]),
                    MAXIMUM: str(spec["replicas"] + surge),
                },
                "ownerReferences": [objects.controller_reference(deployment)],
            },
            "spec": {
                "replicas": size,
                "selector": selector,
                "template": template,
                **({"minReadySeconds": spec["minReadySeconds"]} if "minReadySeconds" in spec else {}),
            },
            "status": {"replicas": 0},
        },
    )
    if size:
        _tell_scaled(cluster, deployment, new, 0, size)
    return new


def _free_name(cluster: Cluster, deployment: Object) -> tuple[str, str]:
    """A ReplicaSet name that is not taken by one of another template."""
    for collisions in range(100):
        digest = pods.template_hash(deployment["spec"]["template"], collisions)
        name = f"{objects.name(deployment)}-{digest}"
        if cluster.store.get("replicasets.apps", objects.namespace(deployment), name) is None:
            return name, digest
    raise RuntimeError(f"no free ReplicaSet name for deployment {objects.name(deployment)}")


def _clean_up(cluster: Cluster, deployment: Object, old: list[Object]) -> None:
    """Keep revisionHistoryLimit old sets."""
    idle = [rs for rs in old if not _size(rs) and not objects.status(rs).get("replicas")]
    surplus = len(idle) - deployment["spec"].get("revisionHistoryLimit", 10)
    for replicaset in sorted(idle, key=_revision)[: max(0, surplus)]:
        cluster.store.remove("replicasets.apps", objects.namespace(replicaset), objects.name(replicaset))
