"""The manifest by which a member joins the fleet."""

from __future__ import annotations

import pytest

from shared import fleet
from shared.contracts.base import JsonObject
from shared.contracts.cluster import ClusterManifest, cluster_of
from shared.errors import Invalid
from shared.fleet import Kubeconfig

FLEET = fleet.parse(
    "members: [{id: idc, alias: cluster-idc, region: cn-beijing, labels: {a: b},"
    " taints: [{key: k, effect: NoSchedule}], simulated: {}}]"
)


def test_a_member_of_the_fleet_file_becomes_a_manifest_and_comes_back() -> None:
    cluster = cluster_of(FLEET.members[0], Kubeconfig(context="idc", path="/tmp/kubeconfig"))
    manifest = cluster.to_manifest()
    assert manifest == {
        "apiVersion": "brim.dev/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": "idc", "labels": {"a": "b"}},
        "spec": {
            "alias": "cluster-idc",
            "region": "cn-beijing",
            "taints": [{"key": "k", "effect": "NoSchedule"}],
            "kubeconfig": {"context": "idc", "path": "/tmp/kubeconfig"},
            "stock": {"source": "nodepool-inventory"},
        },
    }
    assert ClusterManifest.read(manifest) == cluster
    assert str(cluster.ref) == "Cluster idc"


def test_a_simulated_member_needs_the_simulators_kubeconfig() -> None:
    with pytest.raises(ValueError, match="idc is simulated"):
        cluster_of(FLEET.members[0])


BAD: dict[str, tuple[JsonObject, str]] = {
    "no context": ({"metadata": {"name": "a"}, "spec": {"kubeconfig": {}}}, "spec.kubeconfig"),
    "a context beside the service account": (
        {"metadata": {"name": "a"}, "spec": {"kubeconfig": {"context": "a", "inCluster": True}}},
        "spec.kubeconfig",
    ),
    "a secret": (
        {"metadata": {"name": "a"}, "spec": {"kubeconfig": {"context": "a", "token": "t"}}},
        "spec.kubeconfig.token",
    ),
    "no kubeconfig": ({"metadata": {"name": "a"}, "spec": {}}, "spec.kubeconfig"),
    "no DNS label": ({"metadata": {"name": "a.b"}, "spec": {"kubeconfig": {"context": "a"}}}, "metadata.name"),
    "an unknown wish": (
        {"metadata": {"name": "a"}, "spec": {"kubeconfig": {"context": "a"}, "wish": "gone"}},
        "spec.wish",
    ),
    "an unknown field": (
        {"metadata": {"name": "a"}, "spec": {"kubeconfig": {"context": "a"}, "colour": "red"}},
        "spec.colour",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_manifest_is_refused_with_the_fields_path(name: str) -> None:
    manifest, path = BAD[name]
    with pytest.raises(Invalid) as caught:
        ClusterManifest.read(manifest)
    assert [fault.field for fault in caught.value.faults] == [path]
