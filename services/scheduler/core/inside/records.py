"""What is known of one pod, and how it counts where it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from services.scheduler.core.inside.reading import needs_of, sorted_labels
from services.scheduler.core.inside.units import Entry
from services.scheduler.core.inside.values import Labels, Needs, Owner, PodKey
from shared.contracts.binding import Bind
from shared.contracts.pod import Pod
from shared.contracts.refs import Order
from shared.units import SCHEDULERS

FINISHED: Final = frozenset({"Succeeded", "Failed"})
LEAVING: Final = -(2**40)  # below every priority: whoever goes anyway need not be told to


@dataclass(frozen=True, slots=True)
class Seat:
    """All that a pod adds to its member's counts, as it was when it was added: what is taken away again is the same.

    priority: LEAVING where it is on its way out. policy, entry: the ResourcePolicy in whose unit it counts. instance:
    (virtual node, size) promised to it but not seen yet. per_hour: what it costs on elastic and virtual room.
    """

    row: int
    namespace: str
    labels: Labels
    needs: Needs
    leaving: bool
    priority: int
    owner: Owner
    per_hour: float = 0.0
    policy: tuple[str, str] | None = None
    entry: Entry | None = None
    instance: tuple[str, str] | None = None


@dataclass(slots=True, eq=False)
class PodRecord:
    """given: the last order to bind it; assumed: it counts as carried out. assumed_at: Unix seconds of the order, or of
    the last word about it. spec: of the instance that it was given. nominated: the node where room is made for it.
    pended: (code, message, nominated, at) as last told. noted: reasons of events that were told.
    awaits: who goes from there, or went a moment ago. room_at: when it was last noticed that one of them is gone.
    evicted_at: when it was told to go. cost: (what it was last annotated with, at). failures: binds that failed in a
    row. missing_since: when the pod of an instance, or the virtual node of a pod, was first found gone. leaked: that
    was counted.
    """

    pod: Pod
    needs: Needs
    labels: Labels
    given: Bind | None = None
    assumed: bool = False
    assumed_at: float = 0.0
    spec: str = ""
    seat: Seat | None = None
    nominated: str = ""
    awaits: tuple[PodRecord, ...] = ()
    room_at: float = float("-inf")
    pended: tuple[str, str, str, float] | None = None
    noted: set[str] = field(default_factory=set)
    evicted_at: float | None = None
    cost: tuple[str | None, float] | None = None
    failures: int = 0
    missing_since: float | None = None
    leaked: bool = False

    @classmethod
    def of(cls, pod: Pod) -> PodRecord:
        return cls(pod, needs_of(pod), sorted_labels(pod.labels))

    def take(self, pod: Pod) -> None:
        """A newer state of the same pod."""
        if pod.spec != self.pod.spec or pod.requests != self.pod.requests or pod.labels != self.pod.labels:
            self.needs = needs_of(pod)
        self.pod = pod
        self.set_labels()
        if pod.gone and self.missing_since is None:
            self.missing_since = pod.observed_at

    def set_labels(self) -> None:
        """Those it has, and will have."""
        given = self.given.labels if self.assumed and self.given else {}
        self.labels = sorted_labels({**self.pod.labels, **given})

    @property
    def key(self) -> PodKey:
        return (self.pod.member, self.pod.namespace, self.pod.name)

    @property
    def uid(self) -> str:
        return self.pod.uid

    @property
    def node(self) -> str:
        """Where it counts: as told, else as assumed; empty for nowhere."""
        if not self.is_alive:
            return ""
        return self.pod.node or (self.given.node if self.assumed and self.given else "")

    @property
    def order(self) -> Order:
        """Of the last order to bind it."""
        return self.given.order if self.given else Order(epoch=-1)

    @property
    def annotations(self) -> Mapping[str, str]:
        """Those it has, and was given."""
        return {**self.pod.annotations, **self.given.annotations} if self.given else self.pod.annotations

    @property
    def is_alive(self) -> bool:
        return not self.pod.gone and self.pod.phase not in FINISHED

    @property
    def names_brim(self) -> bool:
        return self.pod.scheduler in SCHEDULERS

    @property
    def is_unbound(self) -> bool:
        """It looks for a node, whoever is to give it one."""
        pod = self.pod
        return not (pod.node or self.assumed or pod.terminating or pod.spec.get("schedulingGates")) and self.is_alive

    @property
    def owner(self) -> Owner:
        """The workload whose spending it is part of; itself where nobody controls it."""
        pod = self.pod
        if pod.workload:
            return ("", "", "", pod.workload)
        if pod.owner is not None:
            return (pod.owner.kind, pod.owner.group, pod.namespace, pod.owner.name)
        return ("Pod", "", pod.namespace, pod.name)
