"""One member's Kubernetes API: the one part of brim that knows kubernetes-asyncio.

    async with MemberClient.connect(member="idc", context="idc", kubeconfig=path) as client:
        await client.apply(manifest, manager="brim", force=False)
        async with aclosing(client.watch(PODS, Pod)) as events:
            async for event in events: ...     # Synced, Changed, Gone, Connected, Disconnected

Failures are brim's own errors: see `shared.kube.faults`.
"""

from shared.kube.client import MemberClient, Propagation
from shared.kube.projection import KubeObject, Metadata, OwnerReference, Projection
from shared.kube.resource import (
    CONFIG_MAPS,
    EVENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    NAMESPACES,
    NODES,
    PODS,
    Resource,
)
from shared.kube.transport import Timeouts
from shared.kube.watch import Changed, Connected, Disconnected, Event, Gone, ListPage, Synced, WatchOptions

__all__ = [
    "CONFIG_MAPS",
    "EVENTS",
    "HORIZONTAL_POD_AUTOSCALERS",
    "NAMESPACES",
    "NODES",
    "PODS",
    "Changed",
    "Connected",
    "Disconnected",
    "Event",
    "Gone",
    "KubeObject",
    "ListPage",
    "MemberClient",
    "Metadata",
    "OwnerReference",
    "Projection",
    "Propagation",
    "Resource",
    "Synced",
    "Timeouts",
    "WatchOptions",
]
