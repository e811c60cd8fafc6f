"""pods/eviction: a deletion that heeds PodDisruptionBudgets, as `kubectl drain` asks for it."""

from __future__ import annotations

from typing import Any

from shared.clock import rfc3339
from simulator import objects
from simulator.controllers import disruption
from simulator.objects import Object
from simulator.registry import Deletion, Registry
from simulator.resources import built_in
from simulator.statuses import ApiError, Cause

VIOLATES = "Cannot evict pod as it would violate the pod's disruption budget."
CAUSE = "DisruptionBudget"
RETRY_AFTER = 10  # seconds, while a budget's status is older than its spec
SEVERAL = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."


def evict(registry: Registry, space: str, name: str, body: Any) -> Object:
    """The Eviction's effect. Raises ApiError 404, 409, 429 where no disruption is allowed, 500 for several budgets."""
    options = (body.get("deleteOptions") or {}) if isinstance(body, dict) else {}
    preconditions = options.get("preconditions") or {}
    grace, dry_run = options.get("gracePeriodSeconds"), bool(options.get("dryRun"))
    pods = built_in("pods")
    pod = registry.get(pods, space, name)
    wanted = Deletion(
        grace=None if grace is None else int(grace),
        uid=preconditions.get("uid") or "",
        version=preconditions.get("resourceVersion") or "",
        dry_run=dry_run,
    )
    budget = _budget(registry, pod)
    if budget is not None:
        _require_allowed(budget)
    registry.delete(pods, space, name, wanted)
    if budget is not None and not dry_run:
        _take(registry, budget, pod)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _budget(registry: Registry, pod: Object) -> Object | None:
    """Of which the pod's going takes one disruption; None where there is none, or where it disrupts nothing."""
    if objects.deleting(pod) or objects.finished(pod) or objects.status(pod).get("phase") == "Pending":
        return None
    budgets = disruption.of_pod(registry.store, pod)
    if len(budgets) > 1:
        raise ApiError(500, "", SEVERAL)
    if not budgets or (not objects.ready(pod) and _lets_unready_go(budgets[0])):
        return None
    return budgets[0]


def _lets_unready_go(budget: Object) -> bool:
    status = objects.status(budget)
    desired = status.get("desiredHealthy", 0)
    enough = 0 < desired <= status.get("currentHealthy", 0)
    return enough or objects.spec(budget).get("unhealthyPodEvictionPolicy") == "AlwaysAllow"


def _require_allowed(budget: Object) -> None:
    status, name = objects.status(budget), objects.name(budget)
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 1):
        why = f"The disruption budget {name} is still being processed by the server."
        raise _too_many(Cause(CAUSE, why), RETRY_AFTER)
    if status["disruptionsAllowed"] > 0:
        return
    told = objects.condition(budget, disruption.ALLOWED) or {}
    healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    if told.get("reason") == disruption.SYNC_FAILED:
        why = f"does not allow evicting pods currently because it failed sync: {told['message']}"
    elif healthy <= desired:
        why = f"needs {desired} healthy pods and has {healthy} currently"
    else:
        why = "does not allow evicting pods currently"
    raise _too_many(Cause(CAUSE, f"The disruption budget {name} {why}"), 0)


def _too_many(cause: Cause, retry_after: int) -> ApiError:
    return ApiError(429, "TooManyRequests", VIOLATES, causes=(cause,), retry_after=retry_after)


def _take(registry: Registry, budget: Object, pod: Object) -> None:
    """One disruption less, until the controller has counted again."""
    status, now = objects.status(budget), registry.clock.now()
    evicted = {**(status.get("disruptedPods") or {}), objects.name(pod): rfc3339(now)}
    left = status["disruptionsAllowed"] - 1
    taken = objects.with_status(budget, disruptionsAllowed=left, disruptedPods=evicted)
    registry.store.update(disruption.SHELF, taken if left else disruption.decided(taken, now))
