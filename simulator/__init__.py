"""Simulated Kubernetes members that kubectl and client libraries can drive.

Each member is an HTTP API server with a cluster's controllers behind it: Deployments, StatefulSets,
DaemonSets, Jobs, PodDisruptionBudgets, Kruise's CloneSets, DaemonSets and Rollouts, a scheduler, kubelets, a node
autoscaler with pools and stock, and virtual nodes whose pods run on serverless instances (`kubectl get eci`). Pods that
ask for ECI, as ACK understands it, are sent to brim's scheduler at admission. Time is the fleet's clock.

Annotations that steer it:

- `simulator.brim.dev/ready: "false"` on a pod: it runs, but never becomes Ready (a bad version).
- `simulator.brim.dev/run-seconds: "30"` on a pod: its containers exit after so many fleet seconds. Without it a
  Job's pod runs for 5 s, any other for ever.
- `simulator.brim.dev/exit-code: "1"` on a pod: the code they exit with (0).
- `simulator.brim.dev/stock: "3"` on the ConfigMap kube-system/<pool>-inventory-status: how many more instances
  the cloud sells for that pool; absent: some, number unknown.
- `simulator.brim.dev/stock: "2-4Gi=3,ecs.c6.xlarge=0"` on the ConfigMap kube-system/eci-inventory-status: how many more
  serverless instances it sells, by size or type; `some` is a number that is not known.
- `simulator.brim.dev/reclaim: "true"` on a spot ContainerGroup: the cloud wants it back.
- `simulator.brim.dev/outlives-pod: "true"` on a pod: its serverless instance lives on when the pod is gone.
- `simulator.brim.dev/keep-pods: "true"` on a node: its pods stay behind when the node is deleted.

Not simulated: Kruise's StatefulSets and updates in place, traffic, inter-pod affinity, topology spread, preemption,
volumes, quotas, access rules, the schemas of custom resources (their unknown fields are kept), what
runs in containers (exec, port-forward).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.members import Running, SimulatedMember, run_members, write_kubeconfig

__all__ = ["Running", "SimulatedMember", "run_members", "write_kubeconfig"]


def __getattr__(name: str) -> object:
    """Load the members only when they are asked for: whoever needs a part of them need not wait for all."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from simulator import members

    return getattr(members, name)
