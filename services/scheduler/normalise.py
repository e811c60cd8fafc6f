"""DESIRED → the core's values: workloads, policies and members as decisions see them."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from services.scheduler.core.constraints import Expression, LabelSelector, Taint, Toleration
from services.scheduler.core.engine import Wanted
from services.scheduler.core.values import (
    Affinity,
    Amount,
    Beside,
    Component,
    Division,
    Gone,
    MemberFacts,
    Policy,
    Selector,
    Spread,
    StaticWeight,
    Tier,
    Workload,
)
from services.scheduler.core.waves import Gate, Plan, Wave
from services.scheduler.pods import shape_of
from shared import workloads
from shared.contracts import cluster, policy
from shared.contracts.annotations import ceiling_of
from shared.contracts.base import JsonObject
from shared.contracts.cluster import ClusterManifest
from shared.contracts.desired import Desired
from shared.contracts.fleet_rollout import FleetRollout
from shared.contracts.fleet_rollout import Wave as WrittenWave
from shared.contracts.own_kinds import is_for_brim
from shared.contracts.policy import ClusterAffinity, NamedAffinity, PlacementSpec
from shared.contracts.policy import Policy as WrittenPolicy
from shared.contracts.refs import ObjectRef
from shared.contracts.resource_policy import seconds_of
from shared.contracts.rollout import Rollout
from shared.contracts.selectors import LabelSelector as WrittenSelector


def wanted_of(desired: Desired) -> Wanted:
    """What an object of DESIRED is to the scheduler. A deleted policy or member is gone at once.

    Not for ResourcePolicies: they are about pods inside members.
    """
    ref = desired.ref
    if desired.deleted is not None and is_for_brim(ref):
        return gone(ref)
    if policy.is_policy(ref.kind, ref.group):
        return policy_of(WrittenPolicy.read(desired.manifest), ref)
    if is_member(ref):
        return member_of(ClusterManifest.read(desired.manifest))
    return workload_of(desired)


def gone(ref: ObjectRef) -> Gone:
    """The object is no more: its subject holds nothing."""
    if policy.is_policy(ref.kind, ref.group):
        return Gone("policy", str(ref))
    if is_member(ref):
        return Gone("member", ref.name)
    return Gone("workload", ref.key)


def is_member(ref: ObjectRef) -> bool:
    return (ref.kind, ref.group) == (cluster.KIND, cluster.GROUP)


# -- workloads -----------------------------------------------------------------------------------------------


def workload_of(desired: Desired) -> Workload:
    """Any object that policies may select; with components where its kind carries replicas."""
    ref, manifest = desired.ref, desired.manifest
    kind = workloads.kind_of(ref.kind, ref.group)
    labels = _below(_below(manifest, "metadata"), "labels")
    spec = _below(manifest, "spec")
    components: tuple[Component, ...] = ()
    replicas = 0
    if kind is not None and not kind.per_node:
        pods = workloads.pods_of(kind, manifest)
        replicas = workloads.replicas_in(kind, manifest, pods)
        components = tuple(
            Component(part.name, shape_of(part.template), replicas if kind.divisible else part.replicas)
            for part in pods
        )
    is_job = (ref.kind, ref.group) == ("Job", "batch")
    return Workload(
        ref=ref,
        uid=desired.uid,
        generation=desired.generation,
        revision=desired.revision,
        replicas=replicas,
        components=components,
        divisible=kind is not None and kind.divisible,
        is_job=is_job,
        completions=workloads.completions_of(kind, manifest) if kind else None,
        indexed=is_job and spec.get("completionMode") == "Indexed",
        ordered=(ref.kind, ref.group) == ("StatefulSet", "apps") and spec.get("podManagementPolicy") != "Parallel",
        labels={key: str(value) for key, value in labels.items()},
        pins=desired.pins,
        max_surge=_max_surge(ref, spec),
        ceiling=ceiling_of(_below(_below(manifest, "metadata"), "annotations")),
        created_at=desired.created_at,
        deleted=desired.deleted,
    )


def _max_surge(ref: ObjectRef, spec: JsonObject) -> Amount:
    """Of a Deployment's rolling update, 25 % where it does not say, and of a CloneSet's, none where it does not; other
    kinds make no pods beyond their replicas."""
    match ref.kind, ref.group:
        case "Deployment", "apps":
            strategy = _below(spec, "strategy")
            recreates = strategy.get("type") == "Recreate"
            return Amount() if recreates else _amount(_below(strategy, "rollingUpdate").get("maxSurge", "25%"))
        case "CloneSet", "apps.kruise.io":
            return _amount(_below(spec, "updateStrategy").get("maxSurge", 0))
        case _:
            return Amount()


def _amount(value: JsonValue) -> Amount:
    text = str(value)
    number = text.removesuffix("%")
    return Amount(int(number), text.endswith("%")) if number.isdecimal() else Amount()


def _below(node: JsonObject, name: str) -> JsonObject:
    found = node.get(name)
    return found if isinstance(found, dict) else {}


# -- policies ------------------------------------------------------------------------------------------------


def policy_of(written: WrittenPolicy, ref: ObjectRef) -> Policy:
    spec, placement = written.spec, written.spec.placement
    division, weights = _division(placement)
    suspended_on = spec.suspension.dispatching_on_clusters
    return Policy(
        key=str(ref),
        name=ref.name,
        namespace=ref.namespace if written.namespaced else None,
        selectors=tuple(
            Selector(
                kind=selector.kind,
                group=selector.api_version.rpartition("/")[0],
                namespace=selector.namespace,
                name=selector.name,
                labels=_selector(selector.label_selector),
            )
            for selector in spec.resource_selectors
        ),
        tiers=tuple(_tier(affinity) for affinity in placement.tiers),
        priority=spec.priority,
        tolerations=tuple(
            Toleration(entry.key, entry.operator or "Equal", entry.value, entry.effect)
            for entry in placement.cluster_tolerations
        ),
        division=division,
        weights=weights,
        spread=tuple(_spread(placement)),
        ecs_provision=spec.auto_scaling.ecs_provision,
        overwrite=spec.conflict_resolution == "Overwrite",
        suspend_scheduling=spec.suspension.scheduling,
        suspend_dispatching=spec.suspension.dispatching,
        suspend_on=suspended_on.cluster_names if suspended_on else (),
        preserve=spec.preserve_resources_on_deletion,
        failback=written.failback_per_hour,
        ceiling=ceiling_of(written.metadata.annotations),
    )


def _division(placement: PlacementSpec) -> tuple[Division, tuple[StaticWeight, ...]]:
    """Dynamic weights override static ones; Divided without any preference is equal weights (Karmada's rules)."""
    if placement.scheduling == "Duplicated":
        return "duplicated", ()
    if placement.division == "Aggregated":
        return "aggregated", ()
    preference = placement.replica_scheduling.weight_preference if placement.replica_scheduling else None
    if preference is not None and preference.dynamic_weight:
        return "dynamic", ()
    entries = preference.static_weight_list if preference is not None else ()
    return "static", tuple(StaticWeight(_affinity(entry.target_cluster), entry.weight) for entry in entries)


def _tier(affinity: ClusterAffinity) -> Tier:
    name = affinity.affinity_name if isinstance(affinity, NamedAffinity) else ""
    return Tier(name, _affinity(affinity))


def _affinity(written: ClusterAffinity) -> Affinity:
    fields = written.field_selector.match_expressions if written.field_selector else ()
    return Affinity(
        names=written.cluster_names or None,
        exclude=written.exclude,
        labels=_selector(written.label_selector),
        fields=tuple(Expression(entry.key, entry.operator, entry.values) for entry in fields),
    )


def _selector(written: WrittenSelector | None) -> LabelSelector | None:
    return LabelSelector.of(written) if written is not None else None


def _spread(placement: PlacementSpec) -> list[Spread]:
    found: list[Spread] = []
    for constraint in placement.spread_constraints:
        by: Literal["cluster", "region", "zone", "provider", "label"] = "label"
        if not constraint.spread_by_label:
            by = constraint.spread_by_field or "cluster"
        found.append(Spread(by, constraint.spread_by_label, constraint.min_groups, constraint.max_groups))
    return found


# -- rollouts ------------------------------------------------------------------------------------------------


def beside_of(written: Rollout) -> Beside | None:
    """None where the Rollout replaces pods one for one."""
    spec = written.spec
    if spec.disabled or (spec.strategy.style == "canary" and not spec.has_extra_workload):
        return None
    return Beside(tuple(_amount(step.replicas) for step in spec.strategy.steps), promoted=spec.has_extra_workload)


def plan_of(written: FleetRollout, generation: int) -> Plan:
    """generation: of the FleetRollout in DESIRED."""
    spec = written.spec
    return Plan(
        name=written.metadata.name,
        waves=tuple(_wave(wave) for wave in spec.waves),
        at_once=spec.max_unavailable_clusters,
        undo=spec.on_failure == "Undo",
        paused=spec.paused,
        generation=generation,
    )


def _wave(written: WrittenWave) -> Wave:
    gate, query = written.gate, written.gate.prometheus
    named = bool(written.members) or written.label_selector is not None
    return Wave(
        name=written.name,
        affinity=Affinity(names=written.members or None, labels=_selector(written.label_selector)) if named else None,
        bake=seconds_of(written.bake) if written.bake else 0.0,
        gate=Gate(
            ready_percent=gate.ready_percent,
            max_restarts=gate.max_restarts,
            timeout=seconds_of(gate.timeout),
            query=query is not None,
            lowest=query.min if query is not None else None,
            highest=query.max if query is not None else None,
        ),
    )


# -- members -------------------------------------------------------------------------------------------------


def member_of(manifest: ClusterManifest) -> MemberFacts:
    spec = manifest.spec
    return MemberFacts(
        id=manifest.id,
        alias=spec.alias,
        labels=manifest.metadata.labels,
        provider=spec.provider,
        region=spec.region,
        zone=spec.zone,
        taints=tuple(Taint(taint.key, taint.value, taint.effect) for taint in spec.taints),
        wish=spec.wish,
    )
