"""From Kubernetes' form to the core's plain values."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from pydantic import JsonValue

from services.inventory.core.facts import NodeFacts, PodFacts
from services.inventory.core.statuses import ObjectFacts
from services.inventory.projections import Condition, Container, Managed, Node, Pod, PodEvent, ResourceList
from services.inventory.rollout_form import rollout_status
from shared.clock import parse_rfc3339
from shared.contracts.annotations import ORDER_ANNOTATION, REVISION_ANNOTATION, WORKLOAD_LABEL
from shared.contracts.base import JsonObject
from shared.contracts.refs import ObjectRef, Order
from shared.contracts.rollout import IN_PROGRESS_ANNOTATION, is_rollout
from shared.kube import Resource
from shared.numbers import whole
from shared.pod_requests import InitContainer, pod_requests
from shared.quantities import amount
from shared.units import SCHEDULERS
from shared.workloads import has_ended, kind_of, replicas_of

# Kinds whose controllers leave out a count of zero; elsewhere a missing count is not known.
_COUNTING_KINDS = frozenset({("Deployment", "apps"), ("StatefulSet", "apps"), ("ReplicaSet", "apps"), ("Job", "batch")})
_HASHES = ("pod-template-hash", "controller-revision-hash")  # by which a controller tells templates apart
PROVIDER_FAILED = "ProviderFailed"  # a virtual kubelet's word for an instance that it could not have
_READY_FIELDS = {("Job", "batch"): "ready"}
_PER_NODE = {  # what kinds with a pod on each node call their counts
    "readyReplicas": "numberReady",
    "updatedReplicas": "updatedNumberScheduled",
    "availableReplicas": "numberAvailable",
}


def node_facts(node: Node, described_pool: str = "") -> NodeFacts:
    ready = _condition(node.status.conditions, "Ready")
    return NodeFacts(
        name=node.metadata.name,
        labels=node.metadata.labels,
        taints=tuple((taint.key, taint.value, taint.effect) for taint in node.spec.taints),
        unschedulable=node.spec.unschedulable,
        ready=ready is not None and ready.status == "True",
        leaving=node.metadata.deletion_timestamp is not None,
        created_at=seconds(node.metadata.creation_timestamp) or 0.0,
        allocatable=_amounts(node.status.allocatable),
        described_pool=described_pool,
    )


def pod_facts(pod: Pod) -> PodFacts:
    scheduled = _condition(pod.status.conditions, "PodScheduled")
    ready = _condition(pod.status.conditions, "Ready")
    stuck = scheduled if scheduled and (scheduled.status, scheduled.reason) == ("False", "Unschedulable") else None
    since = seconds(stuck.last_transition_time) or seconds(pod.metadata.creation_timestamp) if stuck else None
    unsold = bool(pod.spec.node_name) and (pod.status.phase, pod.status.reason) == ("Pending", PROVIDER_FAILED)
    return PodFacts(
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        uid=pod.metadata.uid,
        node=pod.spec.node_name,
        workload=pod.metadata.labels.get(WORKLOAD_LABEL, ""),
        phase=pod.status.phase or "Pending",
        terminating=pod.metadata.deletion_timestamp is not None,
        ready=ready is not None and ready.status == "True",
        unschedulable_since=since,
        no_instance_since=bound_at(pod) if unsold else None,
        message=stuck.message if stuck else pod.status.message if unsold else "",
        nominated=pod.status.nominated_node_name if pod.spec.scheduler_name not in SCHEDULERS else "",
        daemon=_daemon(pod),
        requests=_requests(pod),
        created_at=seconds(pod.metadata.creation_timestamp) or 0.0,
        template=next((pod.metadata.labels[name] for name in _HASHES if name in pod.metadata.labels), ""),
        restarts=sum(container.restart_count for container in pod.status.container_statuses),
    )


def bound_at(pod: Pod) -> float | None:
    """Unix seconds at which it got its node; its start where nobody says so."""
    if not pod.spec.node_name:
        return None
    scheduled = _condition(pod.status.conditions, "PodScheduled")
    at = seconds(scheduled.last_transition_time) if scheduled is not None and scheduled.status == "True" else None
    return at or seconds(pod.status.start_time) or seconds(pod.metadata.creation_timestamp)


def _daemon(pod: Pod) -> str:
    owners = pod.metadata.owner_references
    return next((owner.uid for owner in owners if owner.controller and owner.kind == "DaemonSet"), "")


def _requests(pod: Pod) -> dict[str, int]:
    """Amounts of zero ask for nothing."""
    spec = pod.spec
    total = pod_requests(
        [_amounts(container.resources.requests) for container in spec.containers],
        [_init(container) for container in spec.init_containers],
        overhead=_amounts(spec.overhead),
        pod_level=_amounts(spec.resources.requests) if spec.resources is not None else None,
    )
    return {resource: whole for resource, whole in total.items() if whole}


def _init(container: Container) -> InitContainer:
    return InitContainer(_amounts(container.resources.requests), container.restart_policy == "Always")


def _amounts(resources: ResourceList) -> dict[str, int]:
    """What no API server would accept as an amount is left out."""
    found: dict[str, int] = {}
    for name, text in resources.items():
        with suppress(ValueError):
            found[name] = amount(name, text)
    return found


def object_facts(managed: Managed, resource: Resource) -> ObjectFacts:
    metadata, status = managed.metadata, managed.status or {}
    kind = (resource.kind, resource.group)
    return ObjectFacts(
        ref=object_ref(managed, resource),
        uid=metadata.labels.get(WORKLOAD_LABEL, ""),
        order=_order(metadata.annotations.get(ORDER_ANNOTATION, "")),
        revision=whole(metadata.annotations.get(REVISION_ANNOTATION, "")) or 0,
        created_at=seconds(metadata.creation_timestamp) or 0.0,
        generation=metadata.generation,
        observed_generation=_count(status, "observedGeneration") or 0,
        replicas=_replicas(managed, resource),
        ready=_told(status, _READY_FIELDS.get(kind, "readyReplicas"), kind),
        updated=_told(status, "updatedReplicas", kind),
        available=_told(status, "availableReplicas", kind),
        succeeded=_count(status, "succeeded"),
        finished=has_ended(kind_of(*kind), {"status": status}),
        ordered=kind == ("StatefulSet", "apps") and (managed.spec or {}).get("podManagementPolicy") != "Parallel",
        first_ordinal=_first_ordinal(managed.spec or {}),
        rolling=IN_PROGRESS_ANNOTATION in metadata.annotations,
        rollout=rollout_status(managed.spec or {}, status) if is_rollout(*kind) else None,
    )


def object_ref(managed: Managed, resource: Resource) -> ObjectRef:
    return ObjectRef(
        group=resource.group,
        version=resource.version,
        kind=resource.kind,
        namespace=managed.metadata.namespace,
        name=managed.metadata.name,
    )


def _first_ordinal(spec: JsonObject) -> int:
    ordinals = spec.get("ordinals")
    return _count(ordinals, "start") or 0 if isinstance(ordinals, dict) else 0


def event_time(event: PodEvent) -> float:
    """When it was last seen, Unix seconds."""
    times = (event.last_timestamp, event.event_time, event.metadata.creation_timestamp)
    return next((at for at in map(seconds, times) if at is not None), 0.0)


def finished_at(pod: Pod) -> float | None:
    """Unix seconds at which the last of a pod's containers ended; None where none says so."""
    ends = []
    for container in pod.status.container_statuses:
        ended = container.state.get("terminated")
        at = seconds(str(ended.get("finishedAt"))) if isinstance(ended, dict) else None
        if at is not None:
            ends.append(at)
    return max(ends, default=None)


def seconds(timestamp: str | None) -> float | None:
    """Unix seconds of a Kubernetes timestamp; None where there is none, or none that can be read."""
    try:
        return parse_rfc3339(timestamp) if timestamp else None
    except ValueError:
        return None


def _condition(conditions: tuple[Condition, ...], kind: str) -> Condition | None:
    return next((condition for condition in conditions if condition.type == kind), None)


def _replicas(managed: Managed, resource: Resource) -> int:
    kind = kind_of(resource.kind, resource.group)
    spec = managed.spec or {}
    if kind is None:
        return _count(spec, "replicas") or 0
    if kind.per_node:
        return _count(managed.status or {}, "desiredNumberScheduled") or 0
    return replicas_of(kind, {"spec": spec})


def _told(status: JsonObject, field: str, kind: tuple[str, str]) -> int | None:
    known = kind_of(*kind)
    found = _count(status, _PER_NODE.get(field, field) if known is not None and known.per_node else field)
    return 0 if found is None and kind in _COUNTING_KINDS else found


def _count(holder: Mapping[str, JsonValue], field: str) -> int | None:
    found = holder.get(field)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _order(text: str) -> Order:
    try:
        return Order.parse(text)
    except ValueError:
        return Order()
