"""Job: pods that end, counted once each, up to a number of successes or failures.

Each pod carries the finalizer `batch.kubernetes.io/job-tracking` until its end is counted in the Job's status;
a pod that is deleted before its end counts as failed.
"""

from __future__ import annotations

from shared.clock import parse_rfc3339, rfc3339
from simulator import objects
from simulator.cluster import Cluster
from simulator.controllers import garbage, pods, scale_in
from simulator.objects import Object
from simulator.store import Change

NAME = "job"
FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
BACKOFF, LONGEST_BACKOFF = 10.0, 360.0  # fleet seconds between a failure and the next pod


def install(cluster: Cluster) -> None:
    def on_job(change: Change) -> None:
        cluster.queue.add(NAME, (objects.namespace(change.object), objects.name(change.object)))

    cluster.store.subscribe(on_job, "jobs.batch")
    cluster.store.subscribe(lambda change: cluster.requeue_owner(change, "Job", NAME), "pods")
    cluster.queue.register(NAME, lambda key: reconcile(cluster, key))


def reconcile(cluster: Cluster, key: tuple[str, str]) -> None:
    job = cluster.store.get("jobs.batch", *key)
    if job is None:
        return
    job = _count(cluster, job)
    owned = pods.claimed(cluster, job)
    running = pods.active(owned)
    if is_finished(job):
        _expire(cluster, job, running)
        return
    if objects.deleting(job):
        return
    verdict = _verdict(cluster, job, owned)
    if verdict is not None:
        _close(cluster, job, running, *verdict)
        return
    if job["spec"].get("suspend"):
        _suspend(cluster, job, running)
        return
    job = _resume(cluster, job)
    _fill(cluster, job, running)
    _write_active(cluster, key)


def is_finished(job: Object) -> bool:
    return any(objects.condition_is(job, kind, "True") for kind in ("Complete", "Failed"))


# -- counting


def _count(cluster: Cluster, job: Object) -> Object:
    """Take the ended pods into the status and let them go, in one step."""
    status = objects.status(job)
    succeeded, failed = status.get("succeeded", 0), status.get("failed", 0)
    indexes = parse_indexes(status.get("completedIndexes", ""))
    ended = [
        pod
        for pod in cluster.store.owned(objects.uid(job), "pods")
        if FINALIZER in (pod["metadata"].get("finalizers") or ()) and _ended(pod)
    ]
    for pod in ended:
        if objects.status(pod).get("phase") == "Succeeded":
            index = objects.annotations(pod).get(INDEX)
            if index is None or int(index) not in indexes:
                succeeded += 1
            if index is not None:
                indexes.add(int(index))
        else:
            failed += 1
        kept = [entry for entry in pod["metadata"]["finalizers"] if entry != FINALIZER]
        cluster.store.update("pods", objects.with_meta(pod, finalizers=kept or None))
    if not ended:
        return job
    changes: Object = {"succeeded": succeeded or None, "failed": failed or None}
    if indexes:
        changes["completedIndexes"] = show_indexes(indexes)
    fresh = cluster.store.get("jobs.batch", objects.namespace(job), objects.name(job)) or job
    return cluster.store.update("jobs.batch", objects.with_status(fresh, **changes))


def _ended(pod: Object) -> bool:
    """Finished, or deleted with nothing left running."""
    if objects.finished(pod):
        return True
    return objects.deleting(pod) and not pod["metadata"].get("deletionGracePeriodSeconds")


def parse_indexes(text: str) -> set[int]:
    """`0-2,5` → {0, 1, 2, 5}"""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def show_indexes(indexes: set[int]) -> str:
    """{0, 1, 2, 5} → `0-2,5`"""
    parts: list[list[int]] = []
    for index in sorted(indexes):
        if parts and parts[-1][1] == index - 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" if b > a + 1 else f"{a},{b}" for a, b in parts)


# -- deciding


def _verdict(cluster: Cluster, job: Object, owned: list[Object]) -> tuple[str, str, str] | None:
    """(condition, reason, message) when the Job is over."""
    spec, status = job["spec"], objects.status(job)
    succeeded, failed = status.get("succeeded", 0), status.get("failed", 0)
    restarts = sum(
        entry.get("restartCount", 0) for pod in owned for entry in objects.status(pod).get("containerStatuses") or ()
    )
    if failed + restarts > spec.get("backoffLimit", 6):
        return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    limit = spec.get("activeDeadlineSeconds")
    if limit is not None and "startTime" in status:
        deadline = parse_rfc3339(status["startTime"]) + limit
        if cluster.now() >= deadline:
            message = "Job was active longer than specified deadline"
            return "Failed", "DeadlineExceeded", message
        cluster.queue.add_at(NAME, (objects.namespace(job), objects.name(job)), deadline)
    wanted = spec.get("completions")
    done = succeeded > 0 and not pods.active(owned) if wanted is None else succeeded >= wanted
    return ("Complete", "CompletionsReached", "Reached expected number of succeeded pods") if done else None


def _close(cluster: Cluster, job: Object, running: list[Object], kind: str, reason: str, message: str) -> None:
    for pod in running:
        pods.delete(cluster, pod)
    now = cluster.now()
    conditions = objects.status(job).get("conditions") or []
    before = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
    stamp = rfc3339(now)
    for one in (before, kind):
        conditions = objects.set_condition(conditions, one, "True", now, reason, message, lastProbeTime=stamp)
    ended = {"completionTime": stamp} if kind == "Complete" else {}
    fresh = cluster.store.get("jobs.batch", objects.namespace(job), objects.name(job)) or job
    new = objects.with_status(fresh, conditions=conditions, active=None, ready=0, **ended)
    cluster.store.update("jobs.batch", new)
    told = "Completed" if kind == "Complete" else reason
    text = "Job completed" if kind == "Complete" else message
    cluster.event(job, "job-controller", told, text, warning=kind == "Failed")


def _expire(cluster: Cluster, job: Object, running: list[Object]) -> None:
    for pod in running:
        pods.delete(cluster, pod)
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None or objects.deleting(job):
        return
    ended = next(
        entry["lastTransitionTime"]
        for entry in objects.status(job)["conditions"]
        if entry["type"] in ("Complete", "Failed")
    )
    when = parse_rfc3339(ended) + ttl
    if when <= cluster.now():
        garbage.end(cluster, "jobs.batch", job)
    else:
        cluster.queue.add_at(NAME, (objects.namespace(job), objects.name(job)), when)


def _suspend(cluster: Cluster, job: Object, running: list[Object]) -> None:
    for pod in running:
        pods.delete(cluster, pod)
    conditions = objects.set_condition(
        objects.status(job).get("conditions") or [],
        "Suspended",
        "True",
        cluster.now(),
        "JobSuspended",
        "Job suspended",
    )
    fresh = cluster.store.get("jobs.batch", objects.namespace(job), objects.name(job)) or job
    new = objects.with_status(fresh, conditions=conditions, active=None, ready=0, startTime=None)
    cluster.store.update("jobs.batch", new)


def _resume(cluster: Cluster, job: Object) -> Object:
    """Give the Job its start time; end its suspension."""
    changes: Object = {}
    if "startTime" not in objects.status(job):
        changes["startTime"] = rfc3339(cluster.now())
    conditions = objects.status(job).get("conditions") or []
    if objects.condition_is(job, "Suspended", "True"):
        changes["conditions"] = objects.set_condition(
            conditions, "Suspended", "False", cluster.now(), "JobResumed", "Job resumed"
        )
    return cluster.store.update("jobs.batch", objects.with_status(job, **changes)) if changes else job


def _fill(cluster: Cluster, job: Object, running: list[Object]) -> None:
    """Start what is missing, end what is too much."""
    spec, status = job["spec"], objects.status(job)
    wanted = spec.get("completions")
    target = spec.get("parallelism", 1)
    if wanted is not None:
        target = min(target, wanted - status.get("succeeded", 0))
    elif status.get("succeeded"):
        target = len(running)  # a work queue: after the first success nothing new is started
    if len(running) > target:
        for pod in scale_in.of_job(running)[: len(running) - target]:
            pods.delete(cluster, pod)
        return
    if len(running) == target or _backs_off(cluster, job):
        return
    if spec.get("completionMode") == "Indexed":
        done = parse_indexes(status.get("completedIndexes", ""))
        busy = {int(objects.annotations(pod).get(INDEX, -1)) for pod in running}
        free = [index for index in range(wanted or 0) if index not in done | busy]
        for index in free[: target - len(running)]:
            _create(cluster, job, index)
        return
    for _ in range(target - len(running)):
        _create(cluster, job, None)


def _backs_off(cluster: Cluster, job: Object) -> bool:
    """After n failures the next pod waits 10 s × 2^(n-1) since the last of them."""
    failures = [
        parse_rfc3339(state["terminated"]["finishedAt"])
        for pod in cluster.store.owned(objects.uid(job), "pods")
        if objects.status(pod).get("phase") == "Failed"
        for entry in objects.status(pod).get("containerStatuses") or ()
        if "terminated" in (state := entry.get("state") or {})
    ]
    if not failures:
        return False
    until = max(failures) + min(LONGEST_BACKOFF, BACKOFF * 2 ** (len(failures) - 1))
    if until <= cluster.now():
        return False
    cluster.queue.add_at(NAME, (objects.namespace(job), objects.name(job)), until)
    return True


def _create(cluster: Cluster, job: Object, index: int | None) -> None:
    template = job["spec"]["template"]
    metadata = {**(template.get("metadata") or {}), "finalizers": [FINALIZER]}
    name = ""
    if index is not None:
        marks = {INDEX: str(index)}
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **marks}
        metadata["labels"] = {**(metadata.get("labels") or {}), **marks}
        name = f"{objects.name(job)}-{index}-{cluster.suffix()}"
    pod = pods.create(cluster, job, {**template, "metadata": metadata}, name)
    if pod is None:
        cluster.queue.add_at(NAME, (objects.namespace(job), objects.name(job)), pods.again(cluster))
        return
    cluster.event(job, "job-controller", "SuccessfulCreate", f"Created pod: {objects.name(pod)}")


def _write_active(cluster: Cluster, key: tuple[str, str]) -> None:
    job = cluster.store.get("jobs.batch", *key)
    if job is None:
        return
    running = pods.active(pods.claimed(cluster, job))
    counts = {
        "active": len(running) or None,
        "ready": sum(map(objects.ready, running)),
        "terminating": sum(
            objects.deleting(pod) and not objects.finished(pod) for pod in cluster.store.owned(objects.uid(job), "pods")
        ),
    }
    cluster.store.update("jobs.batch", objects.with_status(job, **counts))
