"""`brim describe` of members and policies, and the room that it shows."""

from __future__ import annotations

from cli.describing import described_member, described_policy
from cli.fleet_tables import MemberLine, Workload
from cli.room import phases, pools, resources, room_of
from cli.tables import Table
from shared.contracts.base import JsonObject
from shared.contracts.capacity import Capacity, Delta, Heartbeat, NodeColumns, Pool, Snapshot
from shared.contracts.cluster import ClusterManifest, ClusterMetadata, ClusterSpec
from shared.contracts.desired import Desired
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement, Share
from shared.contracts.refs import ObjectRef, Order
from shared.contracts.status import Status
from shared.fleet import Kubeconfig, Stock, Taint

NOW = 1_767_225_600.0
REF = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="test", name="web")
SERVICE = ObjectRef(version="v1", kind="Service", namespace="test", name="web")
GIB = 1024**3


def columns(names: list[str], phase: str, cpu: int, free: int) -> NodeColumns:
    count = len(names)
    return NodeColumns.model_validate(
        {
            "names": names,
            "classes": [0] * count,
            "phases": [phase] * count,
            "allocatable": {"cpu": [cpu] * count, "memory": [4 * GIB] * count, "fpga": [0] * count},
            "free": {"cpu": [free] * count, "memory": [GIB] * count, "fpga": [0] * count},
        }
    )


def pool(nodes: int = 0) -> Pool:
    return Pool(id="gpu", instance_type="gn7i", allocatable={}, max=4, nodes=nodes, stock=3, price=1.5)


MESSAGES: list[Capacity] = [
    Snapshot(
        member="idc", epoch=1, number=1, chunks=2, observed_at=NOW, nodes=columns(["a", "b"], "ready", 4000, 1000)
    ),
    Snapshot(
        member="idc", epoch=1, number=1, chunk=1, chunks=2, observed_at=NOW, nodes=columns(["c"], "ready", 4000, 4000)
    ),
    Delta(member="idc", epoch=1, number=2, observed_at=NOW, nodes=columns(["b"], "unready", 4000, 4000), removed=["c"]),
    Delta(
        member="idc", epoch=1, number=3, observed_at=NOW, nodes=columns(["v"], "virtual", 9000, 9000), pools=(pool(),)
    ),
    Heartbeat(member="idc", epoch=1, number=3, observed_at=NOW, reachable_at=NOW),
]


def test_room_follows_snapshots_in_chunks_and_deltas() -> None:
    found = room_of(MESSAGES)
    assert phases(found) == "1 ready, 1 unready, 1 virtual"
    assert resources(found) == Table(
        ("RESOURCE", "ALLOCATABLE", "USED", "FREE", "USED%"),
        (("cpu", "4", "3", "1", "75%"), ("memory", "4Gi", "3Gi", "1Gi", "75%")),
    )
    assert pools(found).rows == (("gpu", "gn7i", "0", "0", "4", "3", "3", "1.5"),)


def test_a_new_snapshot_forgets_what_was_before() -> None:
    again = Snapshot(member="idc", epoch=2, number=0, observed_at=NOW, nodes=columns(["x"], "ready", 1000, 1000))
    assert list(room_of([*MESSAGES, again]).nodes) == ["x"]
    assert room_of([*MESSAGES, again]).pools == ()
    assert phases(room_of([])) == "none"


def desired(ref: ObjectRef, manifest: JsonObject | None = None) -> Desired:
    return Desired(
        ref=ref, uid="u", generation=1, order=Order(), manifest=manifest or {}, created_at=NOW - 60, changed_at=NOW
    )


def placed(ref: ObjectRef, wanted: int) -> Placement:
    return Placement(
        ref=ref,
        uid="u",
        generation=1,
        order=Order(),
        whole=not wanted,
        wanted=wanted,
        shares=(Share(member="idc", replicas=wanted),),
        cause="created",
        decided_at=NOW,
    )


HELD = [
    Workload(desired(REF), placed(REF, 2), (Status(member="idc", ref=REF, observed_at=NOW, replicas=2, ready=1),)),
    Workload(desired(SERVICE), placed(SERVICE, 0)),
]


def test_a_member_is_told_with_its_room_pools_and_what_it_holds() -> None:
    spec = ClusterSpec(
        alias="home",
        provider="on-premises",
        region="hangzhou",
        taints=(Taint(key="k", value="v", effect="NoSchedule"),),
        kubeconfig=Kubeconfig(context="idc"),
        stock=Stock(source="static"),
        wish="cordoned",
    )
    cluster = ClusterManifest(metadata=ClusterMetadata(name="idc", labels={"tier": "idc"}), spec=spec)
    line = MemberLine(cluster, MESSAGES[-1], NOW - 60)
    assert described_member(line, MESSAGES, HELD, NOW + 3).splitlines() == [
        "Cluster idc (home)",
        "State:      Ready,SchedulingDisabled, heard of 3s ago",
        "Where:      on-premises, hangzhou",
        "Labels:     tier=idc",
        "Taints:     k=v:NoSchedule",
        "Reached by: context idc of the default kubeconfig",
        "Stock from: static",
        "Nodes:      1 ready, 1 unready, 1 virtual",
        "",
        "Room of the nodes that are ready",
        "RESOURCE   ALLOCATABLE   USED   FREE   USED%",
        "cpu        4             3      1      75%",
        "memory     4Gi           3Gi    1Gi    75%",
        "",
        "Pools",
        "NAME   INSTANCE-TYPE   NODES   MIN   MAX   STOCK   HEADROOM   PRICE",
        "gpu    gn7i            0       0     4     3       3          1.5",
        "",
        "Holds",
        "KIND         NAMESPACE   NAME   REPLICAS   READY",
        "Deployment   test        web    2          1",
        "Service      test        web    -          -",
    ]


def test_a_member_tells_what_became_of_its_policy_for_eci() -> None:
    cluster = ClusterManifest(
        metadata=ClusterMetadata(name="new"), spec=ClusterSpec(kubeconfig=Kubeconfig(context="n"), eci_label=True)
    )
    told = Outcome(member="new", ref=cluster.ref, uid="u", order=Order(), result="failed", message="not there", at=NOW)
    page = described_member(MemberLine(cluster, None, NOW), [], [], NOW, eci_label=told).splitlines()
    assert "ECI label:  not there" in page


def test_a_member_that_was_never_heard_of() -> None:
    cluster = ClusterManifest(
        metadata=ClusterMetadata(name="new"), spec=ClusterSpec(kubeconfig=Kubeconfig(context="n"))
    )
    page = described_member(MemberLine(cluster, None, NOW), [], [], NOW)
    assert "State:      Unknown\n" in page
    assert page.endswith("Nodes:      none\n\nHolds\n<none>")


def test_a_policy_is_told_with_what_it_governs() -> None:
    ref = ObjectRef(
        group="policy.karmada.io", version="v1alpha1", kind="PropagationPolicy", namespace="test", name="pp"
    )
    manifest: JsonObject = {
        "spec": {
            "priority": 3,
            "resourceSelectors": [{"kind": "Deployment"}],
            "placement": {"clusterAffinity": {"clusterNames": ["idc"]}},
        }
    }
    assert described_policy(desired(ref, manifest), HELD[:1], NOW).splitlines() == [
        "PropagationPolicy test/pp",
        "Selects:   Deployment/*",
        "Members:   idc",
        "Division:  Duplicated",
        "Priority:  3",
        "",
        "Governs",
        "KIND         NAMESPACE   NAME   WANTED   PENDING   MEMBERS",
        "Deployment   test        web    2        0         idc:2",
    ]
    assert described_policy(desired(ref, manifest), [], NOW).endswith("Governs\n<none>")
