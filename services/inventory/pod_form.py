"""From a pod as Kubernetes writes it to what PODS tells of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from pydantic import JsonValue

from services.inventory import facts
from services.inventory.core.instances import InstanceFacts
from services.inventory.pod_sight import host_ports
from services.inventory.projections import HostPort, Pod, PodSpec, Volume
from shared import eci
from shared.contracts import pod as contract
from shared.contracts.annotations import CEILING_ANNOTATION, DELETION_COST, UNIT_ANNOTATION
from shared.contracts.base import JsonObject
from shared.contracts.refs import ObjectRef

# Beside those that the namespace's ResourcePolicies count pods by.
ANNOTATIONS: Final = frozenset(
    {
        eci.USE_SPECS,
        eci.INSTANCE_SPEC,
        eci.SPOT_STRATEGY,
        eci.SPOT_PRICE_LIMIT,
        eci.SCHEDULE_STRATEGY,
        eci.FAIL_ON_CREATE_ERROR,
        UNIT_ANNOTATION,
        DELETION_COST,
        CEILING_ANNOTATION,
    }
)
# Controllers that stand between what people know and its pods: kind and group, the label whose value ends the
# controller's name, and the kind and group of what it belongs to.
_BETWEEN: Final = (
    (("ReplicaSet", "apps"), "pod-template-hash", ("Deployment", "apps", "v1")),
    (("ReplicaSet", "apps"), "rollouts-pod-template-hash", ("Rollout", "argoproj.io", "v1alpha1")),
)


# -- what is told


def told(
    member: str,
    pod: Pod,
    *,
    owner: ObjectRef | None,
    annotations: Collection[str],
    instance: contract.Instance | None,
    now: float,
    counted_at: float | None = None,
    eci: bool = False,
) -> contract.Pod:
    """annotations: keys of those that are told beside `ANNOTATIONS`."""
    metadata, spec = pod.metadata, pod.spec
    about = facts.pod_facts(pod)
    return contract.Pod(
        member=member,
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        workload=about.workload,
        owner=contract.Owner(kind=owner.kind, group=owner.group, name=owner.name) if owner is not None else None,
        labels=metadata.labels,
        annotations={k: v for k, v in metadata.annotations.items() if k in ANNOTATIONS or k in annotations},
        scheduler=spec.scheduler_name,
        priority=spec.priority,
        preemption="Never" if spec.preemption_policy == "Never" else "PreemptLowerPriority",
        requests={**about.requests, "pods": 1},
        spec=dict(_scheduling(spec)),
        node=spec.node_name,
        phase=about.phase,
        ready=about.ready,
        terminating=about.terminating,
        created_at=facts.seconds(metadata.creation_timestamp) or 0.0,
        bound_at=facts.bound_at(pod),
        counted_at=counted_at,
        unschedulable=about.message if about.unschedulable_since is not None else None,
        no_instance=about.message if about.no_instance_since is not None else None,
        instance=instance,
        eci=eci,
        observed_at=now,
    )


def gone(member: str, name: str, instance: InstanceFacts, told: contract.Instance, now: float) -> contract.Pod:
    """An instance whose pod is no more. name: under which it is told."""
    return contract.Pod(
        member=member,
        namespace=instance.namespace,
        name=name,
        uid=instance.uid,
        instance=told,
        gone=True,
        observed_at=now,
    )


def _scheduling(spec: PodSpec) -> Iterator[tuple[str, JsonValue]]:
    for name, value in (
        ("nodeSelector", dict(spec.node_selector) if spec.node_selector else None),
        ("affinity", spec.affinity),
        ("tolerations", list(spec.tolerations)),
        ("topologySpreadConstraints", list(spec.topology_spread_constraints)),
        ("resourceClaims", list(spec.resource_claims)),
        ("schedulingGates", list(spec.scheduling_gates)),
        ("volumes", [_volume(volume) for volume in spec.volumes]),
        ("ports", [_port(port) for port in host_ports(spec)]),
    ):
        if value:
            yield name, value  # type: ignore[misc]


def _port(port: HostPort) -> JsonObject:
    where: JsonObject = {"hostIP": port.host_ip} if port.host_ip else {}
    return {"hostPort": port.host_port, "protocol": port.protocol, **where}


def _volume(volume: Volume) -> JsonObject:
    told: JsonObject = volume.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return told


# -- whose it is


def owner_of(pod: Pod, managed: ObjectRef | None) -> ObjectRef | None:
    """What people know as the pod's owner. managed: the object that bears the same workload's mark as the pod.

    That object, if there is one. Else the pod's controller, but for a ReplicaSet that a Deployment (or an Argo
    Rollout) made: its name ends in the hash of the pod's template, which is a label of the pod too.
    """
    if managed is not None:
        return managed
    metadata = pod.metadata
    controller = next((owner for owner in metadata.owner_references if owner.controller), None)
    if controller is None or controller.kind == "Node":  # a static pod is its node's own
        return None
    group, _, version = controller.api_version.rpartition("/")
    for between, label, (kind, of_group, of_version) in _BETWEEN:
        ending = f"-{metadata.labels.get(label, '')}"
        if (controller.kind, group) == between and len(ending) > 1 and controller.name.endswith(ending):
            name = controller.name.removesuffix(ending)
            return ObjectRef(group=of_group, version=of_version, kind=kind, namespace=metadata.namespace, name=name)
    return ObjectRef(
        group=group, version=version, kind=controller.kind, namespace=metadata.namespace, name=controller.name
    )
