"""The fields of a member's objects that inventory uses: for capacity, for status, and for people's tables."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, model_validator

from shared.contracts.base import JsonObject
from shared.kube import KubeObject, Projection
from shared.units import SCHEDULERS

ResourceList = dict[str, str | int | float]


class Condition(Projection):
    type: str
    status: str = "Unknown"
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


# -- nodes


class NodeTaint(Projection):
    key: str
    value: str = ""
    effect: str = ""


class NodeSpec(Projection):
    taints: tuple[NodeTaint, ...] = ()
    unschedulable: bool = False


class NodeInfo(Projection):
    kubelet_version: str = ""
    os_image: str = ""
    kernel_version: str = ""
    container_runtime_version: str = ""
    architecture: str = ""


class NodeAddress(Projection):
    type: str = ""
    address: str = ""


class NodeStatus(Projection):
    conditions: tuple[Condition, ...] = ()
    capacity: ResourceList = {}
    allocatable: ResourceList = {}
    node_info: NodeInfo = NodeInfo()
    addresses: tuple[NodeAddress, ...] = ()


class Node(KubeObject):
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


# -- pods


class Resources(Projection):
    requests: ResourceList = {}


class HostPort(Projection):
    host_port: int = 0
    host_ip: str = Field("", alias="hostIP")
    protocol: str = "TCP"


class Container(Projection):
    name: str = ""
    image: str = ""
    restart_policy: str = ""
    resources: Resources = Resources()
    ports: tuple[HostPort, ...] = ()


class ReadinessGate(Projection):
    condition_type: str = ""


class Volume(Projection):
    name: str = ""
    persistent_volume_claim: JsonObject | None = None
    ephemeral: JsonObject | None = None


class PodSpec(Projection):
    """Beside a few fields of every pod, all that scheduling reads, as it stands there: of pods that are not brim's to
    bind only how they keep others away, which is what counts for those that are."""

    node_name: str = ""
    scheduler_name: str = ""
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    overhead: ResourceList = {}
    resources: Resources | None = None
    readiness_gates: tuple[ReadinessGate, ...] = ()
    priority: int = 0
    preemption_policy: str = ""
    affinity: JsonObject | None = None
    node_selector: dict[str, str] | None = None
    tolerations: tuple[JsonObject, ...] = ()
    topology_spread_constraints: tuple[JsonObject, ...] = ()
    resource_claims: tuple[JsonObject, ...] = ()
    scheduling_gates: tuple[JsonObject, ...] = ()
    volumes: tuple[Volume, ...] = ()

    @model_validator(mode="after")
    def _forget_what_nobody_reads(self) -> PodSpec:
        """There are 100,000s of other pods, each with tolerations and volumes that Kubernetes itself put there."""
        own = self.__dict__
        if self.scheduler_name not in SCHEDULERS:
            kept = self.affinity.get("podAntiAffinity") if self.affinity else None
            own.update(_NOT_OURS, affinity={"podAntiAffinity": kept} if kept else None)
            self.__pydantic_fields_set__.difference_update(_NOT_OURS, {"affinity"})
        elif self.volumes:
            own["volumes"] = tuple(one for one in self.volumes if one.persistent_volume_claim or one.ephemeral)
        for container in (*self.containers, *self.init_containers):
            if container.ports:
                container.__dict__["ports"] = tuple(port for port in container.ports if port.host_port)
                container.__pydantic_fields_set__.discard("ports")
        return self


_NOT_OURS: Mapping[str, object] = {
    name: PodSpec.model_fields[name].default
    for name in (
        "node_selector",
        "tolerations",
        "topology_spread_constraints",
        "resource_claims",
        "scheduling_gates",
        "volumes",
    )
}


class ContainerStatus(Projection):
    name: str = ""
    ready: bool = False
    started: bool | None = None
    restart_count: int = 0
    state: JsonObject = {}
    last_state: JsonObject = {}


class PodStatus(Projection):
    phase: str = ""
    reason: str = ""
    message: str = ""
    pod_ip: str = Field("", alias="podIP")
    nominated_node_name: str = ""
    start_time: str | None = None
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(KubeObject):
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


# -- what brim manages, of any kind


class Managed(KubeObject):
    """spec and status of any kind, as they are: brim knows where the counts of a kind stand."""

    spec: JsonObject | None = None
    status: JsonObject | None = None


# -- around them


class ScaleTarget(Projection):
    api_version: str = ""
    kind: str = ""
    name: str = ""


class AutoscalerSpec(Projection):
    scale_target_ref: ScaleTarget = ScaleTarget()


class Autoscaler(KubeObject):
    """A HorizontalPodAutoscaler."""

    spec: AutoscalerSpec = AutoscalerSpec()


class ConfigMap(KubeObject):
    data: dict[str, str] = {}


class InvolvedObject(Projection):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class PodEvent(KubeObject):
    """An event about a pod."""

    involved_object: InvolvedObject = InvolvedObject()
    reason: str = ""
    message: str = ""
    last_timestamp: str | None = None
    event_time: str | None = None
