"""Generated fleets, shapes, workloads and policies: plain values, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from services.inventory.core.capacity import Changes, Row
from shared.contracts.base import JsonObject
from shared.contracts.capacity import NodeClass
from shared.contracts.cluster import ClusterManifest, ClusterMetadata, ClusterSpec
from shared.fleet import Kubeconfig

GIB: Final = 1024**3
REGIONS: Final = ("cn-beijing", "cn-hangzhou", "cn-shanghai", "eu-central-1")
PER_POLICY: Final = 10  # workloads that one policy selects

# (cpu millicores, memory bytes, GPUs, GPU model): what nodes of one class have
_CLASSES: Final = (
    (16_000, 64 * GIB, 0, ""),
    (32_000, 128 * GIB, 0, ""),
    (64_000, 256 * GIB, 0, ""),
    (48_000, 384 * GIB, 0, ""),
    (16_000, 64 * GIB, 1, "T4"),
    (32_000, 192 * GIB, 4, "A10"),
    (96_000, 768 * GIB, 8, "A100"),
    (8_000, 16 * GIB, 0, ""),
)
_RESOURCES: Final = ("cpu", "ephemeral-storage", "memory", "nvidia.com/gpu", "pods")
_DISK: Final = 100 * GIB


@dataclass(frozen=True, slots=True)
class Size:
    """How large a generated fleet is."""

    members: int = 100
    nodes: int = 5_000  # per member


@dataclass(frozen=True, slots=True)
class PodShape:
    """What one replica asks for. model: a GPU model that the node must have."""

    cpu: int
    memory: int
    gpus: int = 0
    model: str = ""


def member_ids(size: Size) -> list[str]:
    return [f"member-{number:03d}" for number in range(size.members)]


def clusters(size: Size) -> list[ClusterManifest]:
    """The members' manifests. Nobody connects to them: only their capacity is published."""
    return [
        ClusterManifest(
            metadata=ClusterMetadata(name=name, labels={"wave": str(number % 10)}),
            spec=ClusterSpec(region=REGIONS[number % len(REGIONS)], kubeconfig=Kubeconfig(context=name)),
        )
        for number, name in enumerate(member_ids(size))
    ]


def node_classes() -> dict[int, NodeClass]:
    return {
        number: NodeClass(
            labels={
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/os": "linux",
                "node.kubernetes.io/instance-type": f"type-{number}",
                **({"nvidia.com/gpu.product": model} if model else {}),
            }
        )
        for number, (_, _, _, model) in enumerate(_CLASSES)
    }


def rows(size: Size, member: str, seed: int) -> tuple[Row, ...]:
    """The nodes of one member, each between empty and three quarters full."""
    chance = random.Random(f"{seed} {member}")
    return tuple(_row(number, chance) for number in range(size.nodes))


def _row(number: int, chance: random.Random) -> Row:
    class_id = chance.randrange(len(_CLASSES))
    cpu, memory, gpus, _ = _CLASSES[class_id]
    allocatable = {"cpu": cpu, "ephemeral-storage": _DISK, "memory": memory, "nvidia.com/gpu": gpus, "pods": 110}
    name = f"cn-beijing.10.20.{number // 250}.{number % 250}"
    return Row(name, class_id, "ready", allocatable, _free(allocatable, chance.random() * 0.75))


def _free(allocatable: Mapping[str, int], used: float) -> dict[str, int]:
    """What is left when the given share of a node is in use: whole devices, and few of its pod slots."""
    slots = allocatable["pods"] - int(60 * used)
    return {**{name: amount - int(amount * used) for name, amount in allocatable.items()}, "pods": slots}


def whole(size: Size, member: str, seed: int) -> Changes:
    """One member as inventory would hand it to the publisher for a snapshot."""
    return Changes(rows=rows(size, member, seed), classes=node_classes(), resources=_RESOURCES)


def churn(size: Size, seed: int) -> Iterator[tuple[str, Row]]:
    """Node changes without end: a pod of somebody else comes to, or leaves, a random node of a random member."""
    chance = random.Random(f"{seed} churn")
    names = member_ids(size)
    known = {name: rows(size, name, seed) for name in names}
    while True:
        member = chance.choice(names)
        row = chance.choice(known[member])
        yield member, replace(row, free=_free(row.allocatable, chance.random() * 0.75))


def coalesced(changes: list[tuple[str, Row]]) -> dict[str, Changes]:
    """The changes of one interval, by member, the newest of each node."""
    newest: dict[str, dict[str, Row]] = {}
    for member, row in changes:
        newest.setdefault(member, {})[row.name] = row
    return {member: Changes(rows=tuple(nodes.values()), resources=_RESOURCES) for member, nodes in newest.items()}


def shapes(count: int, seed: int) -> list[PodShape]:
    """`count` different shapes; one in five asks for GPUs, half of those for a model."""
    chance = random.Random(f"{seed} shapes")
    found: dict[PodShape, None] = {}
    while len(found) < count:
        cpu = chance.choice((100, 250, 500, 1000, 2000, 4000)) + 10 * chance.randrange(10 if count < 100 else 90)
        memory = (128 << chance.randrange(6)) * 1024**2 + (chance.randrange(512) * 1024**2 if count >= 100 else 0)
        gpus = chance.choice((1, 1, 2)) if chance.random() < 0.2 else 0
        model = chance.choice(("", "T4", "A10", "A100")) if gpus == 1 else ""
        found[PodShape(cpu, memory, gpus, model)] = None
    return list(found)


@dataclass(frozen=True, slots=True)
class Batch:
    """One policy and the workloads that it selects, as they are submitted."""

    policy: JsonObject
    workloads: tuple[JsonObject, ...]


def batches(
    count: int, choices: list[PodShape], namespace: str, seed: int, *, distinct: bool = False
) -> Iterator[Batch]:
    """`count` workloads of 1 to 50 replicas, ten per policy. distinct: no shape is used twice."""
    chance = random.Random(f"{seed} {namespace}")
    unused = iter(choices)
    for first in range(0, count, PER_POLICY):
        group = f"group-{first // PER_POLICY:05d}"
        numbers = range(first, min(first + PER_POLICY, count))
        yield Batch(
            policy(group, namespace, chance),
            tuple(
                deployment(
                    f"work-{number:06d}",
                    namespace,
                    group,
                    chance.randint(1, 50),
                    next(unused) if distinct else chance.choice(choices),
                )
                for number in numbers
            ),
        )


def deployment(name: str, namespace: str, group: str, replicas: int, shape: PodShape) -> JsonObject:
    requests: JsonObject = {"cpu": f"{shape.cpu}m", "memory": str(shape.memory)}
    if shape.gpus:
        requests["nvidia.com/gpu"] = str(shape.gpus)
    pod: JsonObject = {
        "containers": [{"name": "main", "image": "registry.example/work:1", "resources": {"requests": requests}}],
        **({"nodeSelector": {"nvidia.com/gpu.product": shape.model}} if shape.model else {}),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": {"group": group}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        },
    }


def policy(group: str, namespace: str, chance: random.Random) -> JsonObject:
    """Six in ten divide by available room over all members, two go for few members, two fill tiers in order."""
    kind = chance.random()
    scheduling: JsonObject = {
        "replicaSchedulingType": "Divided",
        "replicaDivisionPreference": "Weighted",
        "weightPreference": {"dynamicWeight": "AvailableReplicas"},
    }
    if kind >= 0.8:
        scheduling = {"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Aggregated"}
    where: JsonObject = {"replicaScheduling": scheduling}
    if 0.6 <= kind < 0.8:
        where["clusterAffinities"] = [
            {"affinityName": "first", "labelSelector": {"matchLabels": {"wave": str(chance.randrange(10))}}},
            {"affinityName": "rest"},
        ]
    selector: JsonObject = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "labelSelector": {"matchLabels": {"group": group}},
    }
    return {
        "apiVersion": "policy.one.alibabacloud.com/v1alpha1",
        "kind": "PropagationPolicy",
        "metadata": {"name": group, "namespace": namespace},
        "spec": {"resourceSelectors": [selector], "placement": where},
    }
