"""The tables that `get` prints, word for word."""

from __future__ import annotations

import pytest

from cli.commands.get import with_mark
from cli.fleet_lists import Query, pool_table
from cli.fleet_tables import (
    MemberLine,
    Workload,
    cluster_table,
    placement_table,
    policy_table,
    status_of,
    whole_table,
    workload_table,
)
from cli.tables import MemberObject, Table, changed_rows, member_table, render, with_labels
from shared.contracts.base import JsonObject
from shared.contracts.capacity import Heartbeat
from shared.contracts.cluster import ClusterManifest, ClusterMetadata, ClusterSpec, Wish
from shared.contracts.desired import Desired
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement, Share
from shared.contracts.refs import ObjectRef, Order
from shared.contracts.status import Status
from shared.fleet import Kubeconfig
from simulator.selectors import parse_labels

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
DEPLOYMENT = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="test", name="qwen3")


def metadata(name: str, created: str = "2025-12-31T23:42:00Z", **more: object) -> JsonObject:
    return {"name": name, "namespace": "test", "creationTimestamp": created, **more}  # type: ignore[dict-item]


def pod(name: str, node: str = "", phase: str = "Running", ready: bool = True) -> JsonObject:
    return {
        "metadata": metadata(name),
        "spec": {"containers": [{"name": "vllm"}], **({"nodeName": node} if node else {})},
        "status": {"phase": phase, "podIP": "10.0.0.1", "containerStatuses": [{"ready": ready, "restartCount": 0}]},
    }


def node(name: str, ready: str) -> JsonObject:
    return {
        "metadata": {"name": name, "creationTimestamp": "2025-12-31T23:59:40Z"},
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "nodeInfo": {"kubeletVersion": "v1.34.1"},
        },
    }


def deployment(ready: int, replicas: int, *, managed: bool) -> JsonObject:
    labels = {"brim.dev/managed": "true"} if managed else {}
    return {
        "metadata": metadata("web-demo", "2025-12-31T23:59:49Z", labels=labels),
        "spec": {"replicas": replicas},
        "status": {"readyReplicas": ready, "updatedReplicas": ready, "availableReplicas": ready},
    }


def lines(table: Table) -> list[str]:
    return render(table).splitlines()


def test_pods_of_all_members() -> None:
    found = [
        MemberObject("ack", "cluster-bj-demo", pod("qwen3-a", phase="Pending", ready=False)),
        MemberObject("idc", "cluster-idc-demo", pod("qwen3-b", node="idc-gpu-0")),
    ]
    assert lines(member_table("pods", found, NOW)) == [
        "NAME      CLUSTER   CLUSTER_ALIAS      READY   STATUS    RESTARTS   AGE",
        "qwen3-a   ack       cluster-bj-demo    0/1     Pending   0          18m",
        "qwen3-b   idc       cluster-idc-demo   1/1     Running   0          18m",
    ]


def test_pods_wide_end_with_adoption() -> None:
    found = [MemberObject("idc", "", pod("qwen3-b", node="idc-gpu-0"))]
    assert member_table("pods", found, NOW, wide=True) == Table(
        (
            *("NAME", "CLUSTER", "CLUSTER_ALIAS", "READY", "STATUS", "RESTARTS", "AGE"),
            *("IP", "NODE", "NOMINATED NODE", "READINESS GATES", "ADOPTION"),
        ),
        (
            (
                *("qwen3-b", "idc", "<none>", "1/1", "Running", "0", "18m"),
                *("10.0.0.1", "idc-gpu-0", "<none>", "<none>", "N"),
            ),
        ),
    )


def test_nodes_of_all_members() -> None:
    found = [
        MemberObject("ack", "cluster-bj-demo", node("cn-beijing.172.19.8.1", "False")),
        MemberObject("idc", "cluster-idc-demo", node("idc-gpu-0", "True")),
    ]
    assert lines(member_table("nodes", found, NOW)) == [
        "NAME                    CLUSTER   CLUSTER_ALIAS      STATUS     ROLES    AGE   VERSION   ADOPTION",
        "cn-beijing.172.19.8.1   ack       cluster-bj-demo    NotReady   <none>   20s   v1.34.1   N",
        "idc-gpu-0               idc       cluster-idc-demo   Ready      <none>   20s   v1.34.1   N",
    ]


def test_deployments_say_whether_the_fleet_manages_them() -> None:
    found = [
        MemberObject("ack", "", deployment(2, 2, managed=True)),
        MemberObject("idc", "", deployment(3, 3, managed=False)),
    ]
    assert lines(member_table("deployments.apps", found, NOW)) == [
        "NAME       CLUSTER   READY   UP-TO-DATE   AVAILABLE   AGE   ADOPTION",
        "web-demo   ack       2/2     2            2           11s   Y",
        "web-demo   idc       3/3     3            3           11s   N",
    ]


def test_all_namespaces_put_the_namespace_first() -> None:
    table = member_table("pods", [MemberObject("idc", "a", pod("web"))], NOW, namespaces=True)
    assert table.columns[:3] == ("NAMESPACE", "NAME", "CLUSTER")
    assert table.rows[0][:3] == ("test", "web", "idc")


def test_unknown_kinds_show_name_and_age() -> None:
    table = member_table("widgets.example.com", [MemberObject("idc", "a", {"metadata": metadata("w")})], NOW)
    assert table == Table(("NAME", "CLUSTER", "AGE", "ADOPTION"), (("w", "idc", "18m", "N"),))


def desired(ref: ObjectRef = DEPLOYMENT, manifest: JsonObject | None = None) -> Desired:
    return Desired(
        ref=ref,
        uid="u1",
        generation=3,
        revision=1,
        order=Order(epoch=1, counter=3),
        manifest=manifest or {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "qwen3"}},
        created_at=NOW - 11,
        changed_at=NOW,
    )


def placement(**update: object) -> Placement:
    base = Placement(
        ref=DEPLOYMENT,
        uid="u1",
        generation=3,
        order=Order(epoch=1, counter=2),
        policy="PropagationPolicy test/vllm-deploy-pp",
        wanted=5,
        pending=1,
        shares=(
            Share(member="idc", replicas=2, free=2),
            Share(member="ack", replicas=2, elastic=2),
            Share(member="old", replicas=0, present=False),
        ),
        cause="scaled",
        decided_at=NOW - 5,
    )
    return base.model_copy(update=update)


def test_the_fleets_own_view_of_a_workload() -> None:
    status = Status(member="idc", ref=DEPLOYMENT, uid="u1", observed_at=NOW, replicas=2, ready=2)
    table = workload_table([Workload(desired(), placement(), (status,))], NOW)
    assert lines(table) == [
        "NAME    DESIRED   PLACED   READY   PENDING   MEMBERS       AGE",
        "qwen3   5         4        2       1         idc:2,ack:2   11s",
    ]


def test_a_workload_without_a_placement_has_no_counts() -> None:
    assert workload_table([Workload(desired())], NOW).rows == (("qwen3", "-", "-", "-", "-", "<none>", "11s"),)


SERVICE = ObjectRef(version="v1", kind="Service", namespace="test", name="qwen3")


def test_objects_without_replicas_show_where_they_are_instead() -> None:
    whole = placement(ref=SERVICE, whole=True, wanted=0, pending=0)
    applied = Outcome(member="idc", ref=SERVICE, uid="u1", order=whole.order, result="applied", at=NOW)
    older = Outcome(member="ack", ref=SERVICE, uid="u1", order=Order(epoch=1, counter=1), result="applied", at=NOW)
    found = [Workload(desired(SERVICE), whole, (), (applied, older)), Workload(desired(SERVICE))]
    assert lines(whole_table(found, NOW, namespaces=True)) == [
        "NAMESPACE   NAME    MEMBERS   APPLIED   AGE",
        "test        qwen3   idc,ack   1/2       11s",
        "test        qwen3   <none>    -         11s",
    ]


def test_scripts_read_the_fleets_numbers_beside_the_manifest() -> None:
    status = Status(member="idc", ref=DEPLOYMENT, uid="u1", observed_at=NOW, replicas=2, ready=1)
    assert status_of(Workload(desired(), placement(), (status,))) == {
        "placedGeneration": 3,
        "policy": "PropagationPolicy test/vllm-deploy-pp",
        "members": {"idc": {"replicas": 2, "ready": 1}, "ack": {"replicas": 2, "ready": 0}},
        "desired": 5,
        "placed": 4,
        "ready": 1,
        "pending": 1,
    }
    assert status_of(Workload(desired())) == {}


def test_placements() -> None:
    assert lines(placement_table([placement()], NOW, namespaces=True)) == [
        "NAMESPACE   NAME    KIND         WANTED   PENDING   MEMBERS       CAUSE    AGE",
        "test        qwen3   Deployment   5        1         idc:2,ack:2   scaled   5s",
    ]


@pytest.mark.parametrize(
    ("affinity", "shown"),
    [
        ({"clusterAffinities": [{"affinityName": "idc"}, {"affinityName": "ack"}]}, "idc > ack"),
        ({"clusterAffinity": {"clusterNames": ["idc", "ack"]}}, "idc,ack"),
        ({"clusterAffinity": {"labelSelector": {"matchLabels": {"tier": "cloud"}}}}, "by labels"),
        ({}, "all"),
    ],
)
def test_policies_show_their_tiers(affinity: JsonObject, shown: str) -> None:
    manifest: JsonObject = {
        "spec": {
            "resourceSelectors": [{"kind": "Deployment"}],
            "placement": {**affinity, "replicaScheduling": {"replicaSchedulingType": "Divided"}},
        }
    }
    ref = ObjectRef(group="policy.karmada.io", version="v1alpha1", kind="PropagationPolicy", namespace="t", name="p")
    row = policy_table([desired(ref, manifest)], NOW).rows[0]
    assert row == ("p", "PropagationPolicy", "0", "Deployment/*", shown, "Divided/Weighted", "11s")


@pytest.mark.parametrize(
    ("wish", "heard", "reachable", "lost", "state"),
    [
        ("open", 5.0, 5.0, False, "Ready"),
        ("cordoned", 5.0, 5.0, False, "Ready,SchedulingDisabled"),
        ("drained", 5.0, 5.0, False, "Ready,Drained"),
        ("open", 5.0, 45.0, False, "Unreachable"),
        ("open", 5.0, 400.0, True, "Lost"),
        ("open", 90.0, 90.0, False, "Unknown"),
    ],
)
def test_members_show_how_they_are(wish: Wish, heard: float, reachable: float, lost: bool, state: str) -> None:
    spec = ClusterSpec(alias="cluster-idc-demo", kubeconfig=Kubeconfig(context="idc"), wish=wish)
    cluster = ClusterManifest(metadata=ClusterMetadata(name="idc"), spec=spec)
    beat = Heartbeat(member="idc", epoch=1, number=1, observed_at=NOW - heard, reachable_at=NOW - reachable, lost=lost)
    row = cluster_table([MemberLine(cluster, beat, NOW - 60, 3)], NOW).rows[0]
    assert row == ("idc", "cluster-idc-demo", state, "<none>", "<none>", "3", "60s")


def test_pools_show_what_could_be_had() -> None:
    pool: JsonObject = {
        "metadata": {"name": "gpu-a10"},
        "spec": {"instanceType": "gn7i", "nodes": 1, "min": 0, "max": 4, "stock": 2, "headroom": 2, "price": 1.71},
    }
    unknown: JsonObject = {"metadata": {"name": "cpu"}, "spec": {"instanceType": "g7", "max": 9, "headroom": 9}}
    assert pool_table([MemberObject("ack", "bj", pool), MemberObject("ack", "bj", unknown)]).rows == (
        ("gpu-a10", "ack", "bj", "gn7i", "1", "0", "4", "2", "2", "1.71"),
        ("cpu", "ack", "bj", "g7", "0", "0", "9", "some", "9", "-"),
    )


def test_a_watch_shows_only_rows_that_changed_by_more_than_their_age() -> None:
    before = Table(("NAME", "READY", "AGE"), (("a", "1", "5s"), ("b", "1", "5s")))
    after = Table(("NAME", "READY", "AGE"), (("a", "1", "6s"), ("b", "2", "6s"), ("c-is-new", "0", "0s")))
    assert changed_rows(None, after) == (0, 1, 2)
    assert changed_rows(before, after) == (1, 2)
    assert render(after, header=False, only=(1,)) == "b          2       6s"


@pytest.mark.parametrize(
    ("labels", "selector", "taken"),
    [
        ({"app": "web"}, "app=web", True),
        ({"app": "web"}, "app=api", False),
        ({"app": "web"}, "app", True),
        ({}, "app", False),
        ({"app": "web"}, "", True),
        ({"app": "web"}, "app!=web", False),
        ({"app": "web"}, "app in (api, web),!legacy", True),
        ({"app": "web", "legacy": ""}, "app in (api,web),!legacy", False),
        ({"app": "web"}, "app notin (api)", True),
    ],
)
def test_label_selection(labels: dict[str, str], selector: str, taken: bool) -> None:
    query = Query(labels=parse_labels(selector))
    assert query.takes("default", "x", labels) is taken


def test_a_watch_marks_what_went() -> None:
    table = Table(("NAME", "STATUS", "AGE"), (("a", "Running", "5s"), ("bb", "Running", "5s")))
    assert render(with_mark(table, "(gone)"), header=False, only=(1,)) == "bb     Running   5s    (gone)"


def test_letters_that_take_two_columns_keep_the_table_straight() -> None:
    found = [MemberObject("idc", "机房", pod("web")), MemberObject("ack", "cloud", pod("web"))]
    table = member_table("pods", found, NOW)
    assert lines(table)[1:] == [
        "web    idc       机房            1/1     Running   0          18m",
        "web    ack       cloud           1/1     Running   0          18m",
    ]


def test_only_headings_and_states_are_painted_and_stay_aligned() -> None:
    table = Table(("NAME", "STATUS", "AGE"), (("Ready", "Ready", "5s"), ("b", "NotReady,SchedulingDisabled", "5s")))
    painted = render(table, paint=lambda cell, heading: f"<{cell}>" if heading else f"[{cell}]")
    assert painted.splitlines() == [
        "<NAME >   <STATUS                     >   <AGE>",
        "Ready   [Ready                      ]   5s",
        "b       [NotReady,SchedulingDisabled]   5s",
    ]


def test_events_are_told_as_kubectl_tells_them_with_the_member_second() -> None:
    event: JsonObject = {
        "metadata": metadata("web.1"),
        "type": "Warning",
        "reason": "FailedScheduling",
        "message": "0/3 nodes are available",
        "lastTimestamp": "2025-12-31T23:59:50Z",
        "involvedObject": {"kind": "Pod", "name": "web"},
    }
    assert lines(member_table("events", [MemberObject("idc", "", event)], NOW)) == [
        "LAST SEEN   CLUSTER   TYPE      REASON             OBJECT    MESSAGE",
        "10s         idc       Warning   FailedScheduling   pod/web   0/3 nodes are available",
    ]


@pytest.mark.parametrize("resource", ["configmaps", "secrets"])
def test_contents_that_brim_does_not_read_are_not_counted(resource: str) -> None:
    table = member_table(resource, [MemberObject("idc", "", {"metadata": metadata("conf")})], NOW)
    assert table == Table(("NAME", "CLUSTER", "AGE", "ADOPTION"), (("conf", "idc", "18m", "N"),))


@pytest.mark.parametrize(
    ("keys", "every", "columns", "cells"),
    [
        pytest.param(["app"], False, ["APP"], ["web-demo"], id="one label"),
        pytest.param(
            ["topology/zone", "none"], False, ["ZONE", "NONE"], ["a", ""], id="keys with a prefix, and absent"
        ),
        pytest.param([], True, ["LABELS"], ["app=web-demo,topology/zone=a"], id="all labels"),
    ],
)
def test_columns_of_labels_come_before_the_last_one(
    keys: list[str], every: bool, columns: list[str], cells: list[str]
) -> None:
    found = [MemberObject("idc", "", deployment(2, 2, managed=True))]
    table = member_table("deployments.apps", found, NOW)
    labelled = with_labels(table, [{"topology/zone": "a", "app": "web-demo"}], keys, every=every)
    assert labelled.columns == (*table.columns[:-1], *columns, "ADOPTION")
    assert labelled.rows == ((*table.rows[0][:-1], *cells, "Y"),)
    bare = Table(("NAME",), (("web",),))
    assert with_labels(bare, [{}], [], every=True) == Table(("NAME", "LABELS"), (("web", "<none>"),))
