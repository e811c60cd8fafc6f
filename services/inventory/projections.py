"""The fields of a member's objects that inventory uses: for capacity, for status, and for people's tables."""

from __future__ import annotations

from pydantic import Field

from shared.contracts.base import JsonObject
from shared.kube import KubeObject, Projection

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


class Container(Projection):
    name: str = ""
    image: str = ""
    restart_policy: str = ""
    resources: Resources = Resources()


class ReadinessGate(Projection):
    condition_type: str = ""


class PodSpec(Projection):
    node_name: str = ""
    scheduler_name: str = ""
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    overhead: ResourceList = {}
    resources: Resources | None = None
    readiness_gates: tuple[ReadinessGate, ...] = ()


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
