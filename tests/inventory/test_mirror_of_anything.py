"""Whatever a member's API answers, as long as it has the form of an object: the mirror holds it and tells of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services.inventory.budgets import PodDisruptionBudget
from services.inventory.core.deltas import Ledger
from services.inventory.mirror import Mirror
from services.inventory.projections import Autoscaler, ConfigMap, Managed, Node, Pod, PodEvent
from services.inventory.spending import Spending
from shared.contracts.capacity import decode_capacity
from shared.contracts.cost import Cost
from shared.contracts.pod import Pod as ToldPod
from shared.contracts.status import Status
from shared.fleet import NodePrice, Stock
from shared.kube import KubeObject, Resource

TEXTS = [
    *("", "a", "-1", "0", "1", "7.7", "1e999", "2Ki", "\u00b2", "\u0663", "9" * 5000, "True", "False", "Unschedulable"),
    *("0001-01-01T00:00:00Z", "0001-01-01", "9999-12-31T23:59:59+00:00", "yesterday", "1.2", "-3.x", "w", "Pending"),
]
texts = st.sampled_from(TEXTS)
scalars = st.one_of(texts, st.sampled_from([None, True, -1, 0, 3, 2**31, 2**63, 2**70, 0.5, 1e300]))
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2), max_leaves=4
)
tables = st.dictionaries(texts, texts, max_size=3)
amounts = st.dictionaries(st.sampled_from(["cpu", "memory", "pods", "nvidia.com/gpu"]), texts, max_size=3)
conditions = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["Ready", "PodScheduled", "Complete"])},
        optional={"status": texts, "reason": texts, "lastTransitionTime": texts},
    ),
    max_size=3,
)
metadata = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b-0", "c-\u00b2", "d-" + "9" * 5000])},
    optional={
        "namespace": texts,
        "uid": texts,
        "generation": st.integers(-1, 2**70),
        "labels": st.fixed_dictionaries(
            {},
            optional={
                "brim.dev/workload": st.just("w"),
                "pool": texts,
                "type": st.just("virtual-kubelet"),
            },
        ),
        "annotations": st.fixed_dictionaries(
            {},
            optional={
                "brim.dev/order": texts,
                "brim.dev/revision": texts,
                "simulator.brim.dev/stock": texts,
                "brim.dev/traceparent": texts,
            },
        ),
        "creationTimestamp": texts,
        "deletionTimestamp": texts,
    },
)
containers = st.lists(st.fixed_dictionaries({"resources": st.fixed_dictionaries({"requests": amounts})}), max_size=2)
terms = st.dictionaries(
    st.sampled_from(["namespaces", "namespaceSelector", "podAffinityTerm", "topologyKey"]), json_values, max_size=3
)
affinities = st.dictionaries(
    st.sampled_from(["podAffinity", "podAntiAffinity", "nodeAffinity"]),
    json_values
    | st.dictionaries(
        st.sampled_from(
            ["requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"]
        ),
        st.lists(terms, max_size=2),
    ),
    max_size=2,
)
pod_bodies: dict[str, Any] = {
    "spec": st.fixed_dictionaries(
        {},
        optional={
            "nodeName": texts,
            "containers": containers,
            "overhead": amounts,
            "schedulerName": st.sampled_from(["brim-scheduler", "default-scheduler"]),
            "affinity": affinities,
            "tolerations": st.lists(terms, max_size=1),
        },
    ),
    "status": st.fixed_dictionaries({}, optional={"phase": texts, "conditions": conditions}),
}
instance_bodies: dict[str, Any] = {
    "spec": st.fixed_dictionaries(
        {},
        optional={
            "podName": st.sampled_from(["a", "b-0"]),
            "podUid": json_values,
            "nodeName": texts,
            "size": json_values,
        },
    ),
    "status": st.fixed_dictionaries({}, optional={"startedAt": texts, "finishedAt": texts}),
}
node_bodies: dict[str, Any] = {
    "spec": st.fixed_dictionaries({}, optional={"unschedulable": st.booleans()}),
    "status": st.fixed_dictionaries({}, optional={"allocatable": amounts, "conditions": conditions}),
}
counts = st.dictionaries(
    st.sampled_from(
        ["replicas", "readyReplicas", "updatedReplicas", "availableReplicas", "observedGeneration", "ready"]
    ),
    json_values,
    max_size=4,
)
specs = st.dictionaries(
    st.sampled_from(["replicas", "template", "parallelism", "completions", "podManagementPolicy", "workerGroupSpecs"]),
    json_values,
    max_size=4,
)
managed_bodies: dict[str, Any] = {"spec": specs | st.none(), "status": counts | st.none()}
event_bodies: dict[str, Any] = {
    "involvedObject": st.fixed_dictionaries({"name": st.sampled_from(["a", "b-0"]), "uid": texts}),
    "reason": st.sampled_from(["ProvisionNode", "NotTriggerScaleUp", "a"]),
    "message": texts,
    "lastTimestamp": texts | st.none(),
}
map_bodies: dict[str, Any] = {
    "data": tables | st.fixed_dictionaries({"scaling_configurations": json_values.map(json.dumps)})
}
budget_bodies: dict[str, Any] = {
    "spec": st.fixed_dictionaries(
        {}, optional={"selector": st.fixed_dictionaries({}, optional={"matchLabels": tables})}
    ),
    "status": st.fixed_dictionaries(
        {},
        optional={
            "observedGeneration": st.integers(-1, 2**70),
            "disruptionsAllowed": st.integers(-1, 2**70),
            "disruptedPods": tables,
        },
    ),
}


class Instance(Managed):
    """A serverless instance."""


KINDS = [
    Resource("apps", "v1", "Deployment", "deployments"),
    Resource("apps", "v1", "StatefulSet", "statefulsets"),
    Resource("batch", "v1", "Job", "jobs"),
    Resource("ray.io", "v1", "RayCluster", "rayclusters"),
    Resource("example.com", "v1", "Toaster", "toasters"),
]
bodies = st.one_of(
    st.tuples(st.just(Node), st.fixed_dictionaries({"metadata": metadata}, optional=node_bodies)),
    st.tuples(st.just(Pod), st.fixed_dictionaries({"metadata": metadata}, optional=pod_bodies)),
    st.tuples(st.just(Instance), st.fixed_dictionaries({"metadata": metadata}, optional=instance_bodies)),
    st.tuples(st.just(Managed), st.fixed_dictionaries({"metadata": metadata}, optional=managed_bodies)),
    st.tuples(st.just(PodEvent), st.fixed_dictionaries({"metadata": metadata}, optional=event_bodies)),
    st.tuples(st.just(Autoscaler), st.fixed_dictionaries({"metadata": metadata})),
    st.tuples(st.just(PodDisruptionBudget), st.fixed_dictionaries({"metadata": metadata}, optional=budget_bodies)),
    st.tuples(st.just(ConfigMap), st.fixed_dictionaries({"metadata": metadata}, optional=map_bodies)),
)


def mirror() -> Mirror:
    stock = Stock(source="nodepool-inventory", nodes=(NodePrice(price=2.0),))
    made = Mirror("idc", stock, lambda: 1_000_000.0)
    made.synced |= {"nodes", "pods"}
    made.instances.known = True
    made.followers.append(Spending(made, lambda: 1_000_000.0))
    for kind in KINDS:
        made.add_kind(kind)
    return made


def put(held: Mirror, item: KubeObject, kind: Resource) -> None:
    match item:
        case Node():
            held.nodes.put(item)
        case Pod():
            held.pods.put(item)
        case Instance():
            held.instances.cache.put(item)
        case Managed():
            held.add_kind(kind).cache.put(item)
        case PodEvent():
            for events in held.events.values():
                events.put(item)
        case Autoscaler():
            held.autoscalers.put(item)
        case ConfigMap():
            held.config_maps.put(item)
        case PodDisruptionBudget():
            held.budgets.cache.put(item)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(bodies, st.sampled_from(KINDS), st.booleans()), max_size=8))
def test_the_mirror_holds_whatever_has_the_form_of_an_object(steps: list[Any]) -> None:
    held, ledger = mirror(), Ledger("idc", 1)
    for (projection, body), kind, about_pools in steps:
        if projection is ConfigMap and about_pools:
            body = {**body, "metadata": {**body["metadata"], "name": "autoscaler-meta"}}
        try:
            item = projection.model_validate_json(json.dumps(body))
        except ValidationError:
            continue  # that is no object of the kind: the watch says that the member answers rubbish
        put(held, item, kind)
        held.capacity.age(1_000_000.0)
        delta = ledger.delta(held.capacity.take(), held.pools, 1_000_000.0, budgets=held.budgets.take())
        assert delta is not None
        decode_capacity(delta)
    for chunk in ledger.snapshot(held.capacity.whole(), held.pools, 1_000_000.0, budgets=held.budgets.whole()):
        decode_capacity(chunk)
    for key in held.status_changed.take():
        status = held.status(key)
        if status is not None:
            assert Status.decode(status.encode()) == status
    held.told_pods.settle()
    for name in held.told_pods.changed.take():
        told = held.told_pods.value(name)
        if told is not None:
            assert ToldPod.decode(told.encode()) == told
    (spending,) = held.followers
    assert isinstance(spending, Spending)
    spending.listed()
    for account in spending.changed.take():
        cost = spending.value(account)
        if cost is not None:
            assert Cost.decode(cost.encode()) == cost


@pytest.mark.parametrize("annotation", ["\u00b2", "\u0663", "9" * 5000, "-1", "x"])
def test_a_mark_that_is_no_number_counts_as_none(annotation: str) -> None:
    held = mirror()
    marks = {"brim.dev/revision": annotation, "brim.dev/order": annotation}
    item = Managed.model_validate({"metadata": {"name": "web", "annotations": marks}})
    held.add_kind(KINDS[0]).cache.put(item)
    status = held.status(("Deployment", "apps", "", "web"))
    assert status is not None
    assert (status.revision, status.order.epoch, status.order.counter) == (0, 0, 0)
