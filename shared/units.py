"""Units: the kinds of nodes that one member has, and how brim tells them apart.

idc are machines that are simply there, ecs are cloud nodes (of a node pool, or marked as such), eci are serverless
instances behind a virtual node. A ResourcePolicy orders them; prices and explanations name them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

Unit: TypeAlias = Literal["idc", "ecs", "eci"]
UNITS: Final[tuple[Unit, ...]] = ("idc", "ecs", "eci")

SCHEDULERS: Final = frozenset({"brim-scheduler", "ack-co-scheduler"})  # pods that name one of these are brim's to bind
DEFAULT_SCHEDULER: Final = "brim-scheduler"

POOL_LABEL: Final = "alibabacloud.com/nodepool-id"
KARPENTER_LABEL: Final = "karpenter.sh/nodepool"
POOL_LABELS: Final = (POOL_LABEL, KARPENTER_LABEL)  # by which a node says of which pool it is
ECS_LABEL: Final = "alibabacloud.com/ecs-instance-id"
CLOUD_LABELS: Final = (*POOL_LABELS, ECS_LABEL)  # any of which makes a node one of the cloud
VIRTUAL_LABEL: Final = ("type", "virtual-kubelet")
VIRTUAL_TAINT: Final = ("virtual-kubelet.io/provider", "alibabacloud", "NoSchedule")
ECI_LABEL: Final = ("alibabacloud.com/eci", "true")  # on a pod, or on its namespace: this pod runs on ECI


def pool_of(labels: Mapping[str, str]) -> str:
    """The node pool that a node's labels name, empty for none."""
    return next((labels[label] for label in POOL_LABELS if labels.get(label)), "")


def unit_of(labels: Mapping[str, str]) -> Unit:
    """The unit of a node, by its labels."""
    name, value = VIRTUAL_LABEL
    if labels.get(name) == value:
        return "eci"
    return "ecs" if any(label in labels for label in CLOUD_LABELS) else "idc"


def asks_for_eci(labels: Mapping[str, str], namespace_labels: Mapping[str, str]) -> bool:
    """Whether a pod asks for ECI by its own label or its namespace's; a pod's own "false" wins over the namespace."""
    name, value = ECI_LABEL
    return labels.get(name, namespace_labels.get(name)) == value
