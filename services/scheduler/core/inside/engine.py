"""The state of deciding inside members, without I/O: contract values in, orders about pods out."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Final

from services.scheduler.core.inside import costs, sweep
from services.scheduler.core.inside.member import Member
from services.scheduler.core.inside.orders import Orders
from services.scheduler.core.inside.policies import ResourcePolicies
from services.scheduler.core.inside.queue import Help
from services.scheduler.core.inside.records import PodRecord
from services.scheduler.core.inside.sweep import Leak, Sweep
from services.scheduler.core.inside.turns import Turns
from services.scheduler.core.inside.unsold import Unsold
from services.scheduler.core.inside.values import Decided, ResourcePolicy
from services.scheduler.core.values import Gap
from shared.contracts.annotations import DELETION_COST
from shared.contracts.binding import Bind
from shared.contracts.capacity import Capacity
from shared.contracts.outcome import Outcome
from shared.contracts.pod import Pod

DEAD: Final = 4096  # pods that are no more and are remembered, so that late messages do not bring them back
LEAK: Final = "Leak"  # the code of what a sweep found
LOOKED_AT: Final = 256  # deletion costs in one go, so that decisions do not wait behind thousands
TELL_AGAIN: Final = 60.0  # seconds after which an annotation that does not show is ordered again


class InsideState:
    """Pods that name brim's scheduler, and all that decides on their unit and node.

    Every `on_…` takes one message and is idempotent; late, doubled and reordered ones change nothing. Feed it PODS,
    DESIRED's ResourcePolicies, CAPACITY of members that it `wants`, and OUTCOME of pods until all are caught up, then

        while (decided := state.next_orders(now, epoch)) is not None:
            ... publish decided.orders until each is acknowledged; several may be in flight ...

    and again whenever something came in or `next_due` has passed. What was decided counts at once. An order that gets
    lost costs time only: the pod is decided anew.

    replaying: the streams are still being read. What they held is not enough to decide by, as a former leader's orders
    may have changed it; a member's next capacity message is.
    """

    def __init__(self, *, replaying: bool = False) -> None:
        self.replaying = replaying
        self._policies = ResourcePolicies()
        self._members: dict[str, Member] = {}
        self._orders = Orders()
        self._turns = Turns(self._members, self._policies, self._orders)
        self._unsold = Unsold(self._members, self._orders, self._turns.case_of, self._turns.kind_of)
        self._sweep = Sweep(self._orders)
        self._sweep_at = float("-inf")
        self._uncosted: dict[PodRecord, None] = {}
        self._outbox: deque[Decided] = deque()
        self._dead: dict[str, float] = {}  # uid → when it was last told of

    # -- what members tell -----------------------------------------------------------------------------------

    def wants(self, member: str) -> bool:
        """Whether capacity messages of this member matter: it has, or had, pods that brim decides on."""
        return member in self._members

    def unready(self) -> list[str]:
        """Members where nothing can be decided yet: ask for a snapshot."""
        return [name for name, member in sorted(self._members.items()) if not member.is_ready]

    def on_capacity(self, message: Capacity) -> Gap | None:
        """Gap: something is missing, ask for a snapshot; nothing is decided in the member until then."""
        member = self._members.get(message.member)
        if member is None:
            return None
        news = member.apply(message, is_live=not self.replaying)
        if news.ready:
            self._turns.rouse(member)
            self._uncosted.update(dict.fromkeys(member.pods.values()))
        if news.grew:
            self._turns.queue.wake(member.name, Help.NODES)
        if news.sales:
            self._turns.queue.wake(member.name, Help.SALES)
        return None if member.feed.synced or member.feed.chunks else Gap(member.name)

    def on_pod(self, pod: Pod) -> Gap | None:
        """Gap: this is the first pod of its member, whose capacity is needed from now on."""
        if self._dead.get(pod.uid, float("-inf")) >= pod.observed_at:
            return None
        member = self._members.get(pod.member)
        fresh = member is None
        if member is None:
            member = self._members[pod.member] = Member(pod.member, self._policies)
        record = member.pods.get((pod.namespace, pod.name))
        if record is not None:
            if pod.observed_at < record.pod.observed_at or pod == record.pod:
                return None
            if record.uid != pod.uid:
                self._end(member, record)
                record = None
        self._put(member, record or PodRecord.of(pod), pod)
        return Gap(member.name) if fresh else None

    def _put(self, member: Member, record: PodRecord, pod: Pod) -> None:
        before = (record.node, record.pod.terminating)
        member.put(record, pod)
        if record.node and record.node != before[0]:
            self._turns.queue.wake(member.name, Help.ARRIVED)
        elif before[0] and (not record.node or pod.terminating != before[1]):
            self._turns.queue.wake(member.name, Help.LEFT)
        if pod.node:
            self._uncosted[record] = None
        self._turns.consider(member, record)
        self._unsold.consider(record)
        self._wake_released(member)

    def _wake_released(self, member: Member) -> None:
        if member.nodes.released:
            member.nodes.released = False
            self._turns.queue.wake(member.name, Help.NODES)

    def on_pod_gone(self, member: str, namespace: str, name: str) -> None:
        """The pod's subject was purged: neither the pod nor its instance is there."""
        found = self._members.get(member)
        record = found.pods.get((namespace, name)) if found else None
        if found is not None and record is not None:
            self._end(found, record)

    def _end(self, member: Member, record: PodRecord) -> None:
        self._turns.forget(record)
        self._unsold.forget(record)
        self._uncosted.pop(record, None)
        was_placed = bool(record.node)
        member.drop(record)
        if was_placed:
            self._turns.queue.wake(member.name, Help.LEFT)
        self._wake_released(member)
        self._dead[record.uid] = record.pod.observed_at
        if len(self._dead) > DEAD:
            del self._dead[next(iter(self._dead))]

    def on_order(self, bind: Bind) -> None:
        """An order that was published before we led, and that the executor has not carried out yet."""
        member = self._members.get(bind.member)
        record = member.pods.get((bind.namespace, bind.name)) if member else None
        if member is not None and record is not None and record.uid == bind.uid:
            self._turns.ordered(member, record, bind)

    def on_outcome(self, outcome: Outcome) -> None:
        """What became of an order to bind a pod, where it was not simply carried out. All others are passed over."""
        if (outcome.ref.kind, outcome.ref.group) != ("Pod", ""):
            return
        member = self._members.get(outcome.member)
        record = member.pods.get((outcome.ref.namespace, outcome.ref.name)) if member else None
        if member is None or record is None or record.uid != outcome.uid or outcome.order != record.order:
            return
        if outcome.result in ("failed", "conflict"):
            self._turns.failed(member, record, outcome.at)
            self._wake_released(member)
        elif outcome.result == "retrying":
            record.assumed_at = max(record.assumed_at, outcome.at)

    # -- what people want ------------------------------------------------------------------------------------

    def on_policy(self, policy: ResourcePolicy) -> None:
        if self._policies.get(policy.key) != policy:
            self._policies.put(policy)
            self._policies_changed(policy.namespace)

    def on_policy_gone(self, namespace: str, name: str) -> None:
        if self._policies.remove((namespace, name)) is not None:
            self._policies_changed(namespace)

    def _policies_changed(self, namespace: str) -> None:
        for member in self._members.values():
            for record in member.policies_changed(namespace):
                self._uncosted[record] = None
                self._turns.reconsider(member, record)

    # -- orders ----------------------------------------------------------------------------------------------

    def next_orders(self, now: float, epoch: int) -> Decided | None:
        """What is to be done next, about one pod; None when nothing is due. epoch: of the lease, for the orders.

        Where much had to be looked at that turned out to be right it comes without orders: there is more to look at.
        """
        self._orders.epoch = epoch
        if now >= self._sweep_at:
            self._sweep_all(now)
        for member in self._members.values():
            if member.rests.expire(now):
                self._turns.queue.wake(member.name, Help.SALES)
        found = self._turns.next(now) or self._unsold.next(now) or self._next_cost(now)
        return found or (self._outbox.popleft() if self._outbox else None)

    def next_due(self) -> float | None:
        """Unix seconds from which `next_orders` may have something by time alone; None before the first pod."""
        rests = (member.rests.next_end for member in self._members.values())
        times = (self._turns.next_due(), self._unsold.next_due, self._sweep_at, *rests)
        return min(times) if self._members else None

    @property
    def waiting(self) -> int:
        """Pods that look for a node."""
        return len(self._turns.queue)

    def take_leaks(self) -> Mapping[Leak, int]:
        """What sweeps have found since the last call, by kind."""
        found, self._sweep.found = self._sweep.found, Counter()
        return +found

    def _next_cost(self, now: float) -> Decided | None:
        for _ in range(LOOKED_AT):
            if not self._uncosted:
                return None
            record = next(iter(self._uncosted))
            del self._uncosted[record]
            member = self._members.get(record.pod.member)
            wrong = costs.correction(member, record) if member is not None else None
            if wrong is None:
                continue
            cost = wrong[DELETION_COST]
            if record.cost is not None and record.cost[0] == cost and now - record.cost[1] < TELL_AGAIN:
                continue
            record.cost = (cost, now)
            order = self._orders.annotate(record, wrong, now)
            return Decided(
                record.key, record.uid, (order,), code="DeletionCost", message=f"its deletion cost is {cost}"
            )
        return Decided(("", "", ""), "", ())

    def _sweep_all(self, now: float) -> None:
        self._sweep_at = now + sweep.EVERY
        for _, member in sorted(self._members.items()):
            for record, order, message in self._sweep.member(member, now):
                self._outbox.append(Decided(record.key, record.uid, (order,), code=LEAK, message=message))
            self._turns.sweep(member, now)
            self._wake_released(member)
            self._uncosted.update(dict.fromkeys(member.pods.values()))
