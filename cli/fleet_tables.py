"""The fleet's own view as tables: workloads, placements, policies and members. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cli.json_values import dig, number, objects_of, text
from cli.tables import NONE, Table, joined
from shared import workloads as kinds
from shared.clock import parse_rfc3339, rfc3339
from shared.contracts.base import JsonObject
from shared.contracts.capacity import Capacity, Heartbeat
from shared.contracts.cluster import ClusterManifest
from shared.contracts.desired import Desired
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement
from shared.contracts.status import Status
from simulator.cells import duration

PROVISIONING = {
    "ordered": "nodes are being added",
    "no-stock": "no stock to add nodes",
    "failed": "adding nodes failed",
    "none": "no node takes them",
}
NO_INSTANCE = "without an instance: their virtual node could not have one"
SILENT = 60.0  # fleet seconds without a word from inventory, after which nothing is known of a member
UNREACHABLE = 30.0  # fleet seconds since a member last answered inventory


@dataclass(frozen=True, slots=True)
class Workload:
    """All that the fleet knows of one desired object."""

    desired: Desired
    placement: Placement | None = None
    statuses: tuple[Status, ...] = ()
    outcomes: tuple[Outcome, ...] = ()

    @property
    def divided(self) -> bool:
        """It has replicas that brim counts."""
        return kinds.has_replicas(self.desired.ref.kind, self.desired.ref.group)

    @property
    def placed(self) -> int:
        return sum(share.replicas for share in self.placement.shares if share.present) if self.placement else 0

    @property
    def ready(self) -> int:
        return sum(status.ready for status in self.statuses)

    @property
    def wanted(self) -> int:
        return self.placement.wanted if self.placement else 0

    @property
    def pending(self) -> int:
        return self.placement.pending if self.placement else 0

    @property
    def applied(self) -> int:
        """Members in which the placement in force was carried out."""
        if self.placement is None:
            return 0
        order = self.placement.order
        done = {entry.member for entry in self.outcomes if entry.result == "applied" and not entry.order < order}
        return sum(share.member in done for share in self.placement.shares if share.present)


def stuck(status: Status) -> list[str]:
    """`2 unschedulable: nodes are being added`, one for each thing that the autoscaler, or a virtual node, says."""
    counts: dict[str, int] = {}
    for entry in status.unschedulable:
        said = NO_INSTANCE if entry.no_instance else f"unschedulable: {PROVISIONING[entry.provisioning]}"
        counts[said] = counts.get(said, 0) + entry.count
    return [f"{count} {said}" for said, count in counts.items()]


def unscheduled(status: Status) -> list[str]:
    """As `stuck`, with what the member's scheduler says: `2 unschedulable: no node takes them (0/3 nodes …)`."""
    counts: dict[str, int] = {}
    for entry in status.unschedulable:
        why = PROVISIONING[entry.provisioning] + (f" ({entry.message})" if entry.message else "")
        counts[why] = counts.get(why, 0) + entry.count
    return [f"{count} unschedulable: {why}" for why, count in counts.items()]


def trouble_in(workload: Workload, member: str) -> str:
    """What keeps the executor from carrying the placement out there."""
    for outcome in workload.outcomes:
        if outcome.member == member and outcome.result in ("retrying", "failed", "conflict"):
            return f"{outcome.result}: {outcome.message}"
    return ""


def age(since: float, now: float) -> str:
    return duration(now - since) if since else "<unknown>"


def members_of(placement: Placement | None) -> dict[str, int]:
    """Replicas per member that has a share; members whose share is only to be deleted are left out."""
    return {share.member: share.replicas for share in placement.shares if share.present} if placement else {}


def is_whole(placement: Placement) -> bool:
    """It has no replicas to count."""
    return placement.whole and not placement.wanted


def shares_text(placement: Placement | None) -> str:
    """`idc:2,ack:2`; whole objects name the members alone."""
    if placement is None:
        return NONE
    found = members_of(placement)
    if is_whole(placement):
        return joined(found)
    return joined(f"{member}:{replicas}" for member, replicas in found.items())


def workload_table(found: Sequence[Workload], now: float, *, wide: bool = False, namespaces: bool = False) -> Table:
    """Workloads with their counts: how many replicas are wanted, placed, ready, and fit nowhere."""
    columns = ["NAME", "DESIRED", "PLACED", "READY", "PENDING", "MEMBERS", "AGE"]
    rows = []
    for entry in found:
        placed = entry.placement is not None
        counts = (entry.wanted, entry.placed, entry.ready, entry.pending) if entry.divided else (None,) * 4
        cells = [
            entry.desired.ref.name,
            *("-" if count is None or not placed else str(count) for count in counts),
            shares_text(entry.placement),
            age(entry.desired.created_at, now),
        ]
        if wide:
            cells += [entry.placement.policy if entry.placement and entry.placement.policy else NONE]
            cells += [str(entry.desired.revision), str(entry.desired.generation)]
        rows.append(tuple([entry.desired.ref.namespace, *cells] if namespaces else cells))
    heading = [*columns, *(["POLICY", "REVISION", "GENERATION"] if wide else [])]
    return Table(tuple(["NAMESPACE", *heading] if namespaces else heading), tuple(rows))


def whole_table(found: Sequence[Workload], now: float, *, wide: bool = False, namespaces: bool = False) -> Table:
    """Objects without replicas: the members that are to hold them, and in how many of those they are."""
    rows = []
    for entry in found:
        cells = [
            entry.desired.ref.name,
            shares_text(entry.placement),
            f"{entry.applied}/{len(members_of(entry.placement))}" if entry.placement is not None else "-",
            age(entry.desired.created_at, now),
        ]
        if wide:
            cells += [entry.placement.policy if entry.placement and entry.placement.policy else NONE]
            cells += [str(entry.desired.generation)]
        rows.append(tuple([entry.desired.ref.namespace, *cells] if namespaces else cells))
    heading = ["NAME", "MEMBERS", "APPLIED", "AGE", *(["POLICY", "GENERATION"] if wide else [])]
    return Table(tuple(["NAMESPACE", *heading] if namespaces else heading), tuple(rows))


def placement_table(found: Sequence[Placement], now: float, *, wide: bool = False, namespaces: bool = False) -> Table:
    columns = ["NAME", "KIND", "WANTED", "PENDING", "MEMBERS", "CAUSE", "AGE"]
    rows = []
    for entry in found:
        cells = [
            entry.ref.name,
            entry.ref.kind,
            *(("-", "-") if is_whole(entry) else (str(entry.wanted), str(entry.pending))),
            shares_text(entry),
            entry.cause,
            age(entry.decided_at, now),
        ]
        if wide:
            cells += [str(entry.order), entry.policy or NONE]
        rows.append(tuple([entry.ref.namespace, *cells] if namespaces else cells))
    heading = [*columns, *(["ORDER", "POLICY"] if wide else [])]
    return Table(tuple(["NAMESPACE", *heading] if namespaces else heading), tuple(rows))


def policy_table(found: Sequence[Desired], now: float, *, namespaces: bool = False) -> Table:
    """Policies with their tiers in order (`idc > ack`) and how they divide."""
    rows = []
    for entry in found:
        cells = [
            entry.ref.name,
            entry.ref.kind,
            str(number(entry.manifest, "spec", "priority")),
            _selects(entry.manifest),
            _tiers(entry.manifest),
            _division(entry.manifest),
            age(entry.created_at, now),
        ]
        rows.append(tuple([entry.ref.namespace or NONE, *cells] if namespaces else cells))
    heading = ("NAME", "KIND", "PRIORITY", "SELECTS", "MEMBERS", "DIVISION", "AGE")
    return Table(("NAMESPACE", *heading) if namespaces else heading, tuple(rows))


def _selects(manifest: JsonObject) -> str:
    return joined(
        f"{text(entry, 'kind')}/{text(entry, 'name') or '*'}"
        for entry in objects_of(manifest, "spec", "resourceSelectors")
    )


def _tiers(manifest: JsonObject) -> str:
    groups = objects_of(manifest, "spec", "placement", "clusterAffinities")
    if groups:
        return " > ".join(text(group, "affinityName") or _members(group) for group in groups)
    single = dig(manifest, "spec", "placement", "clusterAffinity")
    return _members(single) if isinstance(single, dict) else "all"


def _members(affinity: JsonObject) -> str:
    listed = dig(affinity, "clusterNames")
    return ",".join(str(name) for name in listed) if isinstance(listed, list) and listed else "by labels"


def _division(manifest: JsonObject) -> str:
    how = dig(manifest, "spec", "placement", "replicaScheduling")
    kind = text(how, "replicaSchedulingType") or "Duplicated"
    if kind != "Divided":
        return kind
    preference = text(how, "replicaDivisionPreference") or "Weighted"
    return f"{kind}/{preference}"


def member_state(cluster: ClusterManifest, last: Capacity | None, now: float) -> str:
    """Ready, Unreachable (it does not answer inventory), Lost (given up) or Unknown (inventory is silent)."""
    if last is None or now - last.observed_at > SILENT:
        state = "Unknown"
    elif isinstance(last, Heartbeat) and last.lost:
        state = "Lost"
    elif isinstance(last, Heartbeat) and now - last.reachable_at > UNREACHABLE:
        state = "Unreachable"
    else:
        state = "Ready"
    return {"open": state, "cordoned": f"{state},SchedulingDisabled", "drained": f"{state},Drained"}[cluster.spec.wish]


@dataclass(frozen=True, slots=True)
class MemberLine:
    """A member, what was last heard of its room, and its replicas according to the placements."""

    cluster: ClusterManifest
    last: Capacity | None
    created_at: float
    replicas: int = 0


def member_status(line: MemberLine, now: float) -> JsonObject:
    """What scripts read of a member, beside its manifest."""
    found: JsonObject = {"state": member_state(line.cluster, line.last, now), "replicas": line.replicas}
    if line.last is not None:
        found["heardAt"] = rfc3339(line.last.observed_at)
    return found


def cluster_table(found: Sequence[MemberLine], now: float, *, wide: bool = False) -> Table:
    columns = ("NAME", "ALIAS", "STATUS", "PROVIDER", "REGION", "REPLICAS", "AGE")
    rows = []
    for entry in found:
        spec = entry.cluster.spec
        cells = (
            entry.cluster.id,
            spec.alias or NONE,
            member_state(entry.cluster, entry.last, now),
            spec.provider or NONE,
            spec.region or NONE,
            str(entry.replicas),
            age(entry.created_at, now),
        )
        taints = joined(f"{taint.key}={taint.value}:{taint.effect}" for taint in spec.taints)
        labels = joined(f"{key}={value}" for key, value in sorted(entry.cluster.metadata.labels.items()))
        rows.append((*cells, spec.stock.source, taints, labels) if wide else cells)
    return Table((*columns, "STOCK", "TAINTS", "LABELS") if wide else columns, tuple(rows))


def status_of(workload: Workload) -> JsonObject:
    """What scripts read beside the manifest, under `status`: numbers of the whole fleet, and of each member."""
    placement = workload.placement
    if placement is None:
        return {}
    found: JsonObject = {
        "placedGeneration": placement.generation,
        "policy": placement.policy,
        "members": {
            share.member: {
                "replicas": share.replicas,
                "ready": sum(status.ready for status in workload.statuses if status.member == share.member),
            }
            if workload.divided
            else {}
            for share in placement.shares
            if share.present
        },
    }
    if workload.divided:
        found |= {"desired": workload.wanted, "placed": workload.placed}
        found |= {"ready": workload.ready, "pending": workload.pending}
    return found


def object_of(entry: Desired) -> JsonObject:
    """The manifest as the API would show it: with uid, generation and creation time."""
    metadata = dig(entry.manifest, "metadata")
    known = dict(metadata) if isinstance(metadata, dict) else {}
    known |= {"uid": entry.uid, "generation": entry.generation, "creationTimestamp": rfc3339(entry.created_at)}
    return {**entry.manifest, "metadata": known}


def born(manifest: JsonObject) -> float:
    """When an object was created, Unix seconds; 0 where it does not say."""
    stamp = text(manifest, "metadata", "creationTimestamp")
    return parse_rfc3339(stamp) if stamp else 0.0


def status_table(workload: Workload, now: float) -> Table:
    """How one object fares in each member, and what became of its last placement there."""
    statuses = {status.member: status for status in workload.statuses}
    outcomes = {outcome.member: outcome for outcome in workload.outcomes}
    rows = []
    for member in sorted(statuses.keys() | outcomes.keys()):
        status, outcome = statuses.get(member), outcomes.get(member)
        counts = (
            f"{status.ready}/{status.replicas}" if status else "-",
            str(status.updated) if status else "-",
            str(status.pending) if status else "-",
            str(sum(entry.count for entry in status.unschedulable)) if status else "-",
        )
        became = (
            outcome.result if outcome else NONE,
            age(outcome.at, now) if outcome else "-",
            outcome.message if outcome else "",
        )
        rows.append((member, *(counts if workload.divided else ()), *became))
    counted = ("READY", "UP-TO-DATE", "PENDING", "UNSCHEDULABLE") if workload.divided else ()
    return Table(("CLUSTER", *counted, "RESULT", "AGE", "MESSAGE"), tuple(rows))
