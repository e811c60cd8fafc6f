"""One message of each contract, as documentation shows it: the hybrid fleet of `docs/scheduling.md`.

Deployment test/qwen3 asks for four GPUs, member `idc` has two, member `ack` adds two nodes.
"""

from __future__ import annotations

from typing import Final

from shared.contracts.action import Acted, Action
from shared.contracts.base import Contract, JsonObject
from shared.contracts.binding import Annotate, Bind, Evict, Note, Pend, Release
from shared.contracts.capacity import Delta, Heartbeat, NodeClass, NodeColumns, Pool, Snapshot
from shared.contracts.cost import Booked, Cost, Meter
from shared.contracts.desired import Desired, Revision
from shared.contracts.outcome import FieldFault, Outcome, Rejected
from shared.contracts.placement import Placement, Reason, Rest, Seen, Share
from shared.contracts.pod import Instance, Owner, Pod
from shared.contracts.read import Read, ReadAnswer
from shared.contracts.rebalance import Rebalance, Stuck
from shared.contracts.refs import ObjectRef, Order
from shared.contracts.status import Status, Unschedulable
from shared.contracts.submit import Accepted, Answer, Cordon, Delete, Plan, Planned, Roll, Scale

NOW: Final = 1_790_000_000.0  # Unix seconds
UID: Final = "6f1c2c1e-5d0b-4b8e-9a55-0c6a4a1f7d21"
REF: Final = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="test", name="qwen3")
ORDER: Final = Order(epoch=3, counter=17)
MESSAGE: Final = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."

MANIFEST: Final = """\
apiVersion: policy.one.alibabacloud.com/v1alpha1
kind: PropagationPolicy
metadata:
  name: vllm-deploy-pp
  namespace: test
spec:
  autoScaling:
    ecsProvision: true
  placement:
    clusterAffinities:
    - affinityName: idc
      clusterNames: [idc]
    - affinityName: ack
      clusterNames: [ack]
    replicaScheduling:
      replicaSchedulingType: Divided
      replicaDivisionPreference: Weighted
      weightPreference:
        dynamicWeight: AvailableReplicas
  resourceSelectors:
  - apiVersion: apps/v1
    kind: Deployment
    namespace: test
"""

_PLACEMENT = Placement(
    ref=REF,
    uid=UID,
    generation=2,
    order=ORDER,
    policy="PropagationPolicy test/vllm-deploy-pp",
    revision=1,
    wanted=5,
    pending=1,
    shares=(
        Share(member="idc", replicas=2, free=2, revision=1),
        Share(member="ack", replicas=2, elastic=2, revision=1, deadline=NOW + 300),
    ),
    seen=Seen(members=["idc", "ack"], tiers=[0, 1], free=[0, 0], elastic=[0, 2], virtual=[0, 0], given=[0, 2]),
    reasons=(Reason(code="NoRoom", message="needs 1 nvidia.com/gpu, 0 free on 2 nodes", members=("idc",)),),
    cause="scaled",
    decided_at=NOW,
)

_POD: Final = "qwen3-5665b88779-7k2xw"
_POD_UID: Final = "0d4f1c8e-7f57-4a86-9d0b-0a5d1f6f1f6b"
_VIRTUAL: Final = "virtual-kubelet-cn-zhangjiakou-a"
_OF_POD: Final[JsonObject] = {"member": "idc", "namespace": "test", "name": _POD, "uid": _POD_UID, "at": NOW}

_EXAMPLES: Final[tuple[Contract, ...]] = (
    Delete(refs=(REF,), preserve=False),
    Scale(ref=REF, replicas=5),
    Cordon(member="idc", wish="cordoned"),
    Roll(verb="undo", ref=REF, members=("idc",)),
    Answer(
        accepted=(Accepted(ref=REF, uid=UID, generation=2, change="scaled", sequence=41),),
    ),
    Plan(refs=(REF,)),
    Planned(placements=(_PLACEMENT,)),
    Desired(
        ref=REF,
        uid=UID,
        generation=2,
        revision=1,
        order=ORDER,
        manifest={
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "qwen3", "namespace": "test"},
            "spec": {"replicas": 5, "selector": {"matchLabels": {"app": "qwen3"}}},
        },
        created_at=NOW - 3600,
        changed_at=NOW,
    ),
    Revision(
        uid=UID,
        number=1,
        manifest={"metadata": {"labels": {"app": "qwen3"}}, "spec": {"containers": [{"name": "vllm"}]}},
        superseded_at=NOW,
    ),
    Snapshot(
        member="idc",
        epoch=2,
        number=0,
        observed_at=NOW,
        classes={0: NodeClass(labels={"kubernetes.io/arch": "amd64"})},
        nodes=NodeColumns(
            names=["node-0", "node-1"],
            classes=[0, 0],
            phases=["ready", "ready"],
            allocatable={"cpu": [8000, 8000], "nvidia.com/gpu": [1, 1], "pods": [110, 110]},
            free={"cpu": [6000, 8000], "nvidia.com/gpu": [0, 1], "pods": [107, 110]},
        ),
        pools=(
            Pool(
                id="gpu",
                instance_type="ecs.gn7i-c8g1.2xlarge",
                allocatable={"cpu": 8000, "nvidia.com/gpu": 1, "pods": 110},
                max=10,
                nodes=0,
                stock=4,
            ),
        ),
        bound={UID: 1},
    ),
    Delta(
        member="idc",
        epoch=2,
        number=1,
        observed_at=NOW + 0.05,
        nodes=NodeColumns(
            names=["node-1"],
            classes=[0],
            phases=["ready"],
            allocatable={"cpu": [8000], "nvidia.com/gpu": [1], "pods": [110]},
            free={"cpu": [6000], "nvidia.com/gpu": [0], "pods": [109]},
        ),
        bound={UID: 2},
    ),
    Heartbeat(member="idc", epoch=2, number=1, observed_at=NOW + 10, reachable_at=NOW + 9.8),
    Status(
        member="ack",
        ref=REF,
        uid=UID,
        order=ORDER,
        revision=1,
        observed_at=NOW + 20,
        created_at=NOW + 1,
        generation=1,
        observed_generation=1,
        replicas=2,
        updated=2,
        pending=2,
        unschedulable=(Unschedulable(since=NOW + 1, count=2, message=MESSAGE, provisioning="ordered"),),
    ),
    _PLACEMENT.model_copy(
        update={"rests": (Rest(member="edge", until=NOW + 60),)},
    ),
    Rebalance(
        ref=REF,
        uid=UID,
        order=ORDER,
        cause="stuck",
        stuck=(Stuck(member="idc", count=1, ready=1, since=NOW - 31, message=MESSAGE),),
        asked_at=NOW,
    ),
    Outcome(member="idc", ref=REF, uid=UID, order=ORDER, result="applied", at=NOW + 0.1),
    Pod(
        member="idc",
        namespace="test",
        name=_POD,
        uid=_POD_UID,
        workload=UID,
        owner=Owner(group="apps", kind="Deployment", name="qwen3"),
        labels={"app": "qwen3", "pod-template-hash": "5665b88779"},
        scheduler="brim-scheduler",
        requests={"cpu": 2000, "pods": 1},
        node=_VIRTUAL,
        phase="Running",
        ready=True,
        created_at=NOW - 60,
        bound_at=NOW - 59,
        instance=Instance(name="eci-2ze8w1k5t0q7", size="2-4Gi", since=NOW - 58, per_hour=0.25),
        observed_at=NOW,
    ),
    Bind.model_validate(
        {
            **_OF_POD,
            "order": ORDER,
            "node": _VIRTUAL,
            "unit": "eci",
            "annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1", "brim.dev/unit": "eci"},
            "perHour": 0.25,
        }
    ),
    Pend.model_validate({**_OF_POD, "order": ORDER, "message": MESSAGE}),
    Annotate.model_validate(
        {**_OF_POD, "order": ORDER, "annotations": {"controller.kubernetes.io/pod-deletion-cost": "0"}}
    ),
    Evict.model_validate(
        {**_OF_POD, "order": ORDER, "reason": "Preempted", "message": "Preempted by pod test/urgent-0 on node node-1"}
    ),
    Note.model_validate(
        {
            **_OF_POD,
            "order": ORDER,
            "reason": "OtherScheduler",
            "message": "ResourcePolicy test/cost selects it, but it names default-scheduler: brim leaves it alone",
        }
    ),
    Release.model_validate({**_OF_POD, "order": ORDER, "instance": "eci-2ze8w1k5t0q7"}),
    Action(
        id="5f0c7c1e",
        verb="approve",
        ref=ObjectRef(group="rollouts.kruise.io", version="v1beta1", kind="Rollout", namespace="test", name="qwen3"),
        members=("idc",),
        who="ada",
        reply="brim.acting.5f0c7c1e",
        asked_at=NOW,
    ),
    Acted(
        id="5f0c7c1e",
        verb="approve",
        ref=ObjectRef(group="rollouts.kruise.io", version="v1beta1", kind="Rollout", namespace="test", name="qwen3"),
        who="ada",
        at=NOW,
        member="idc",
        done=True,
        message="step 1 of 3 approved",
    ),
    Cost(
        member="ack",
        ref=REF,
        uid=UID,
        booked=(Booked(unit="ecs", amount=1.5, hours=3.0, pods=2),),
        meters=(Meter(pod=_POD, uid=_POD_UID, unit="ecs", since=NOW - 600, per_hour=0.5),),
        observed_at=NOW,
    ),
    Rejected(
        service="scheduler",
        subject="brim.submit.apply",
        sequence=42,
        at=NOW,
        faults=(
            FieldFault(
                object="PropagationPolicy test/vllm-deploy-pp",
                field="spec.placement",
                message="clusterAffinity and clusterAffinities cannot both be given; remove one",
            ),
        ),
        excerpt="apiVersion: policy.one.alibabacloud.com/v1alpha1\nkind: PropagationPolicy\n",
    ),
    Read(verb="list", resource="pods", namespace="test", selector="app=qwen3"),
    ReadAnswer(
        items=({"metadata": {"name": "qwen3-5665b88779-7k2xw", "namespace": "test"}, "status": {"phase": "Running"}},),
        synced_at=NOW,
    ),
)

EXAMPLES: Final[dict[type[Contract], Contract]] = {type(example): example for example in _EXAMPLES}
