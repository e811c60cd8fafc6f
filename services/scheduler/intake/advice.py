"""Warnings about manifests that are sound, but may not do what their writer hopes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from services.scheduler.core.matching import Policies, specificity
from services.scheduler.core.values import Policy, Workload
from services.scheduler.intake.checking import Checked
from services.scheduler.intake.known import Key, Known
from services.scheduler.normalise import is_member, policy_of, wanted_of
from shared.contracts import cluster, resource_policy
from shared.contracts.cluster import ClusterManifest
from shared.contracts.fleet_rollout import FleetRollout
from shared.contracts.policy import ClusterAffinity
from shared.contracts.policy import Policy as WrittenPolicy
from shared.contracts.resource_policy import ResourcePolicy
from shared.contracts.rollout import Rollout, RolloutSpec, is_share

SHOWN = 10  # names in one sentence
DESCRIBED = ("static", "cluster-autoscaler", "karpenter")  # sources of stock that say nothing without `pools`


class Advisor:
    """policies: those in force."""

    def __init__(self, known: Known, policies: Policies) -> None:
        self._known = known
        self._policies = policies

    def advise(self, sound: Sequence[Checked]) -> Mapping[Key, tuple[str, ...]]:
        """Warnings per object, after all of them were stored."""
        found: dict[Key, tuple[str, ...]] = {}
        for checked in sound:
            if checked.policy is not None:
                found[checked.ref.key] = tuple(self._about_policy(checked.policy, checked))
            elif isinstance(checked.model, ResourcePolicy):
                found[checked.ref.key] = tuple(self._about_units(checked.model))
            elif isinstance(checked.model, FleetRollout):
                found[checked.ref.key] = (*self._about_rollout(checked), *self._about_waves(checked.model))
            elif isinstance(checked.model, ClusterManifest):
                found[checked.ref.key] = tuple(self._about_member(checked.model, checked.fleet))
            elif not is_member(checked.ref):
                found[checked.ref.key] = (*self._about_object(checked), *self._about_rollout(checked))
        return found

    def _about_policy(self, written: WrittenPolicy, checked: Checked) -> Iterator[str]:
        unknown = sorted(_named_members(written) - self._known.members())
        if unknown:
            names = ", ".join(unknown[:SHOWN]) + (" and more" if len(unknown) > SHOWN else "")
            members = ", ".join(sorted(self._known.members())[:SHOWN]) or "none yet"
            yield f"no member of the fleet is called {names}; there are {members}"
        if not self._selects_anything(policy_of(written, checked.ref)):
            yield "it matches no object yet; it takes effect once one that it selects is applied"

    def _selects_anything(self, read: Policy) -> bool:
        for selector in read.selectors:
            for entry in self._known.of_kind(selector.kind, selector.group).values():
                if entry.desired.deleted is not None:
                    continue
                value = wanted_of(entry.desired)
                if isinstance(value, Workload) and specificity(read, value):
                    return True
        return False

    def _about_units(self, written: ResourcePolicy) -> Iterator[str]:
        """Pods that people create straight in a member are not known here: only other policies are."""
        mine, namespace = written.spec.selector, written.metadata.namespace
        for entry in self._known.of_kind(resource_policy.KIND, resource_policy.GROUP).values():
            other = entry.desired
            if other.deleted is not None or other.ref.namespace != namespace or other.ref.name == written.metadata.name:
                continue
            theirs = ResourcePolicy.read(other.manifest).spec.selector
            if all(mine.get(key, value) == value for key, value in theirs.items()):
                yield (
                    f"{other.ref} can select the same pods: the policy with more labels in its selector counts, "
                    "then the first by name"
                )

    def _about_object(self, checked: Checked) -> Iterator[str]:
        desired = self._known.live(checked.ref.key)
        value = wanted_of(desired) if desired else None
        if isinstance(value, Workload) and self._policies.match(value) is None:
            yield "no policy selects it: it goes nowhere until one does"

    def _about_member(self, written: ClusterManifest, fleet: Sequence[str]) -> Iterator[str]:
        """fleet: all members of the file that names this one; of the rest its first one tells."""
        spec = written.spec
        if fleet[:1] == (written.id,) and (left := cluster.strangers(self._members(), fleet)):
            yield left
        others = [other for other in self._members() if other.id != written.id]
        same = sorted(other.id for other in others if other.spec.kubeconfig == spec.kubeconfig)
        if same:
            yield f"it is reached just as {same[0]} is: the room of one cluster would count twice"
        taken = sorted(other.id for other in others if spec.alias and spec.alias in (other.id, other.spec.alias))
        if taken:
            yield f"{taken[0]} is called {spec.alias} too: commands will need the id"
        if spec.stock.source in DESCRIBED and not spec.stock.pools:
            yield f"stock from {spec.stock.source} promises nothing without `pools` that say what a node is like"

    def _members(self) -> Iterator[ClusterManifest]:
        for entry in self._known.of_kind(cluster.KIND, cluster.GROUP).values():
            if entry.desired.deleted is None:
                yield ClusterManifest.read(entry.desired.manifest)

    def _about_waves(self, written: FleetRollout) -> Iterator[str]:
        named = {member for wave in written.spec.waves for member in wave.members}
        unknown = sorted(named - self._known.members())
        if unknown:
            yield f"no member of the fleet is called {', '.join(unknown[:SHOWN])}"

    def _about_rollout(self, checked: Checked) -> Iterator[str]:
        if isinstance(checked.model, Rollout):
            yield from _about_steps(checked.model.spec)
        if isinstance(checked.model, Rollout | FleetRollout) and self._known.live(checked.model.workload.key) is None:
            yield f"its workload, {checked.model.workload}, is not there yet; it takes effect once that is applied"


def _about_steps(spec: RolloutSpec) -> Iterator[str]:
    """Kruise compares the sizes of a Deployment's partitions as if of millions of pods."""
    if spec.strategy.canary is None or spec.has_extra_workload or spec.workload_ref.kind != "Deployment":
        return
    for number, (before, after) in enumerate(pairwise(spec.strategy.steps), start=2):
        if is_share(before.replicas) and not is_share(after.replicas):
            yield (
                f"step {number} has replicas {after.replicas} after {before.replicas}: "
                "Kruise never comes to a count that follows a percentage, so give percentages"
            )


def _named_members(written: WrittenPolicy) -> set[str]:
    """Every member that a policy names one by one."""
    placement = written.spec.placement
    affinities: list[ClusterAffinity] = list(placement.tiers)
    scheduling = placement.replica_scheduling
    if scheduling is not None and scheduling.weight_preference is not None:
        affinities += [entry.target_cluster for entry in scheduling.weight_preference.static_weight_list]
    suspended = written.spec.suspension.dispatching_on_clusters
    named = {name for affinity in affinities for name in (*affinity.cluster_names, *affinity.exclude)}
    return named | set(suspended.cluster_names if suspended else ())
