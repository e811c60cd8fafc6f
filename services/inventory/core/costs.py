"""What workloads cost in one member: a meter for each pod that is being paid for, and what ended ones came to.

The sum for a moment is what is booked plus, for each meter, the time since it was set × its price. It is kept exact
whatever the order in which things become known, and across restarts: an account is taken up as it was published last,
and a time that a predecessor was there to count is never counted again. Of an account with very many meters only the
oldest are published one by one, so that it fits a message; all others as one sum, booked up to that moment.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from services.inventory.core.facts import ObjectKey
from shared.contracts.cost import Booked, Cost, Meter, Rest
from shared.contracts.refs import ObjectRef
from shared.units import UNITS, Unit

HOUR: Final = 3600.0
MOST: Final = 2000  # meters of an account that are told one by one
KEPT: Final = 7 * 86_400.0  # seconds for which an account outlives its owner


@dataclass(frozen=True, slots=True)
class Payment:
    """What one pod costs, as far as is known now. workload: uid of its owner in DESIRED, empty for none of brim's.

    since: Unix seconds from which it is paid for. until: when that ended, for good; None while it goes on. per_hour: 0
    while nothing is paid for it.
    """

    ref: ObjectRef
    pod: str
    unit: Unit
    since: float
    per_hour: float
    until: float | None = None
    workload: str = ""


@dataclass(frozen=True, slots=True)
class _Sum:
    amount: float = 0.0
    hours: float = 0.0
    pods: int = 0


@dataclass(slots=True)
class _Account:
    """known_at: when a predecessor published it last. rest: what it published without meters, by unit; found: how many
    of these pods were seen again."""

    ref: ObjectRef
    workload: str = ""
    booked: dict[Unit, _Sum] = field(default_factory=dict)
    meters: dict[str, Meter] = field(default_factory=dict)
    gone_since: float | None = None
    known_at: float = float("-inf")
    rest: dict[Unit, Rest] = field(default_factory=dict)
    found: dict[Unit, int] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not self.booked and not self.meters

    @property
    def unseen(self) -> list[tuple[int, Meter]]:
        """Pods of the rest that were not seen again so far: how many, and a meter for each of these."""
        found = []
        for unit, rest in self.rest.items():
            each = Meter(pod="", uid="", unit=unit, since=rest.since, per_hour=rest.per_hour / max(1, rest.pods))
            found.append((max(0, rest.pods - self.found.get(unit, 0)), each))
        return found


class Accounts:
    """All of one member. watched_until: Unix seconds until which a predecessor watched the member, as far as is known.

    Methods that change something return the keys of the accounts that are others now.
    """

    def __init__(self, member: str, watched_until: float = float("-inf")) -> None:
        self.member = member
        self._watched_until = watched_until
        self._accounts: dict[ObjectKey, _Account] = {}
        self._of: dict[str, ObjectKey] = {}  # by pod uid: where its meter is
        self._taken_up: set[str] = set()  # uids of meters whose pods were not seen by this process yet
        self._ended: set[str] = set()
        self._free: set[str] = set()  # pods for which nothing was ever paid so far
        self._booked: dict[Unit, float] = {}
        self._rates: dict[Unit, float] = dict.fromkeys(UNITS, 0.0)

    # -- from one process to the next ------------------------------------------------------------------------

    def take_up(self, cost: Cost) -> None:
        """Go on with an account as it was published."""
        account = _Account(cost.ref, cost.uid, gone_since=cost.gone_since, known_at=cost.observed_at)
        account.booked = {one.unit: _Sum(one.amount, one.hours, one.pods) for one in cost.booked}
        account.rest = {one.unit: one for one in cost.rest}
        self._accounts[cost.ref.key] = account
        for meter in cost.meters:
            self._take_up_meter(account, meter)

    def _take_up_meter(self, account: _Account, meter: Meter) -> None:
        """One that moved stands in two accounts, if only one of them was published since: the older ends there."""
        held = self._of.get(meter.uid)
        if held is not None:
            other = self._accounts[held]
            rival = other.meters[meter.uid]
            if rival.since > meter.since:
                self._book(account, meter, rival.since, pods=0)
                return
            self._book(other, self._stop(meter.uid), meter.since, pods=0)
        self._run(account, meter)
        self._taken_up.add(meter.uid)

    def end_missing(self, present: Container[str]) -> set[ObjectKey]:
        """All pods are known: those that a predecessor metered and that are no more ended when it looked last."""
        changed: set[ObjectKey] = set()
        for uid in self._taken_up:
            if uid not in present and uid in self._of:
                account = self._accounts[self._of[uid]]
                changed |= self.end(uid, max(self._watched_until, account.known_at))
                self.forget(uid)
        self._taken_up.clear()
        for key, account in self._accounts.items():
            if account.rest:
                self._end_rest(account, max(self._watched_until, account.known_at))
                changed.add(key)
        return changed

    def end_rests(self, at: float) -> None:
        """All pods that were published without meters ended then."""
        for account in self._accounts.values():
            self._end_rest(account, at)

    def _end_rest(self, account: _Account, at: float) -> None:
        """Pods that were published without meters, and that are no more, ended then."""
        for count, each in account.unseen:
            self._book(account, each, at, pods=1, times=count)
        account.rest, account.found = {}, {}

    # -- one pod ---------------------------------------------------------------------------------------------

    def observe(self, uid: str, payment: Payment, now: float) -> set[ObjectKey]:
        """A pod is paid for like this; repeat it as often as you like. What has ended does not begin again."""
        self._taken_up.discard(uid)
        if uid in self._ended:
            return set()
        if uid not in self._of:
            return self._begin(uid, payment, now)
        changed = self._move(uid, payment) | self._price(uid, payment, now)
        if payment.until is not None:
            changed |= self.end(uid, payment.until)
        return changed

    def _begin(self, uid: str, payment: Payment, now: float) -> set[ObjectKey]:
        if not payment.per_hour:
            self._free.add(uid)
            return set()
        account = self._account(payment)
        since = max(payment.since, self._watched_until, account.known_at)
        rest = account.rest.get(payment.unit)
        if rest is not None and payment.since <= rest.since:  # one of those that were published without meters
            since = rest.since
            account.found[payment.unit] = account.found.get(payment.unit, 0) + 1
        if uid in self._free:  # it has a price only now
            since = now
        self._free.discard(uid)
        meter = Meter(pod=payment.pod, uid=uid, unit=payment.unit, since=since, per_hour=payment.per_hour)
        if payment.until is not None:
            self._ended.add(uid)
            if payment.until > since:
                self._book(account, meter, payment.until, pods=1)
            return self._settled(payment.ref.key)
        self._run(account, meter)
        return {payment.ref.key}

    def _move(self, uid: str, payment: Payment) -> set[ObjectKey]:
        """Its owner is better known: the meter goes there as it is."""
        before, now = self._of[uid], payment.ref.key
        if before == now:
            return set()
        meter = self._stop(uid)
        self._run(self._account(payment), meter)
        return {now} | self._settled(before)

    def _price(self, uid: str, payment: Payment, now: float) -> set[ObjectKey]:
        """At another price the time so far is booked, and the meter begins anew."""
        key = self._of[uid]
        account = self._accounts[key]
        meter = account.meters[uid]
        if (meter.unit, meter.per_hour) == (payment.unit, payment.per_hour):
            return set()
        at = max(meter.since, now if payment.until is None else min(now, payment.until))
        self._book(account, self._stop(uid), at, pods=0)
        self._run(account, Meter(pod=payment.pod, uid=uid, unit=payment.unit, since=at, per_hour=payment.per_hour))
        return {key}

    def lapse(self, uid: str, now: float) -> set[ObjectKey]:
        """Nothing is paid for it, for now: its node is gone, or its instance."""
        self._taken_up.discard(uid)
        key = self._of.get(uid)
        if key is None:
            return set()
        account = self._accounts[key]
        meter = account.meters[uid]
        return self._price(uid, Payment(account.ref, meter.pod, meter.unit, meter.since, 0.0), now)

    def end(self, uid: str, at: float) -> set[ObjectKey]:
        """It is paid for no longer, for good."""
        self._ended.add(uid)
        key = self._of.get(uid)
        if key is None:
            return set()
        self._book(self._accounts[key], self._stop(uid), at, pods=1)
        return {key}

    def forget(self, uid: str) -> None:
        """The pod is no more: nothing will be heard of it again."""
        self._ended.discard(uid)
        self._free.discard(uid)

    def knows(self, uid: str) -> bool:
        return uid in self._of or uid in self._ended or uid in self._free

    def ref_of(self, uid: str) -> ObjectRef | None:
        """Whose meter it is."""
        key = self._of.get(uid)
        return self._accounts[key].ref if key is not None else None

    # -- accounts --------------------------------------------------------------------------------------------

    def _run(self, account: _Account, meter: Meter) -> None:
        account.meters[meter.uid] = meter
        self._of[meter.uid] = account.ref.key
        self._rates[meter.unit] += meter.per_hour

    def _stop(self, uid: str) -> Meter:
        meter = self._accounts[self._of.pop(uid)].meters.pop(uid)
        self._rates[meter.unit] -= meter.per_hour
        if not self._of:  # what little the sum of many differences was off
            self._rates = dict.fromkeys(UNITS, 0.0)
        return meter

    def _account(self, payment: Payment) -> _Account:
        account = self._accounts.setdefault(payment.ref.key, _Account(payment.ref))
        account.workload = payment.workload or account.workload
        account.gone_since = None
        return account

    def _settled(self, key: ObjectKey) -> set[ObjectKey]:
        if self._accounts[key].empty:
            del self._accounts[key]
        return {key}

    def _book(self, account: _Account, meter: Meter, at: float, *, pods: int, times: int = 1) -> None:
        seconds, pods = times * max(0.0, at - meter.since), times * pods
        amount = seconds / HOUR * meter.per_hour
        before = account.booked.get(meter.unit, _Sum())
        account.booked[meter.unit] = _Sum(before.amount + amount, before.hours + seconds / HOUR, before.pods + pods)
        self._booked[meter.unit] = self._booked.get(meter.unit, 0.0) + amount

    def cost(self, key: ObjectKey, now: float, most: int = MOST) -> Cost | None:
        """What is to be published of an account; None where there is none. most: meters that are told one by one."""
        account = self._accounts.get(key)
        if account is None:
            return None
        meters = sorted(account.meters.values(), key=lambda meter: (meter.since, meter.pod, meter.uid))
        unseen = [meter for count, each in account.unseen for meter in [each] * count]
        booked, rest = _folded(account.booked, [*meters[most:], *unseen], now)
        return Cost(
            member=self.member,
            ref=account.ref,
            uid=account.workload,
            booked=tuple(
                Booked(unit=unit, amount=total.amount, hours=total.hours, pods=total.pods)
                for unit, total in sorted(booked.items())
            ),
            meters=tuple(meters[:most]),
            rest=rest,
            gone_since=account.gone_since,
            observed_at=now,
        )

    @property
    def idle(self) -> tuple[ObjectRef, ...]:
        """Owners for which nothing is paid now."""
        return tuple(account.ref for account in self._accounts.values() if not account.meters)

    def owner_is(self, ref: ObjectRef, *, there: bool, now: float) -> set[ObjectKey]:
        """Whether an owner still exists. Its account goes a week after it was first found to be no more."""
        account = self._accounts.get(ref.key)
        if account is None or account.meters:
            return set()
        if there or account.gone_since is None:
            before, account.gone_since = account.gone_since, None if there else now
            return {ref.key} if before != account.gone_since else set()
        if now - account.gone_since < KEPT:
            return set()
        del self._accounts[ref.key]
        return {ref.key}

    # -- sums ------------------------------------------------------------------------------------------------

    @property
    def per_hour(self) -> Mapping[Unit, float]:
        """What all meters cost now."""
        return self._rates

    def take_booked(self) -> Mapping[Unit, float]:
        """What was booked since this was last asked."""
        booked, self._booked = self._booked, {}
        return booked


def _folded(
    booked: Mapping[Unit, _Sum], meters: Sequence[Meter], now: float
) -> tuple[Mapping[Unit, _Sum], tuple[Rest, ...]]:
    """These meters as sums by unit, booked up to now."""
    if not meters:
        return booked, ()
    sums = dict(booked)
    for meter in meters:
        hours, before = max(0.0, now - meter.since) / HOUR, sums.get(meter.unit, _Sum())
        sums[meter.unit] = _Sum(before.amount + hours * meter.per_hour, before.hours + hours, before.pods)
    units = {unit: [meter.per_hour for meter in meters if meter.unit == unit] for unit in UNITS}
    found = (Rest(unit=unit, pods=len(each), since=now, per_hour=sum(each)) for unit, each in units.items() if each)
    return sums, tuple(found)


def closed(cost: Cost, at: float, now: float) -> Cost:
    """A cost whose member left: what was being paid for ended at `at`, and the owner is gone there since now."""
    accounts = Accounts(cost.member)
    accounts.take_up(cost)
    for meter in cost.meters:
        accounts.end(meter.uid, at)
    accounts.end_rests(at)
    found = accounts.cost(cost.ref.key, now)
    assert found is not None
    return found.model_copy(update={"gone_since": now if cost.gone_since is None else cost.gone_since})


def is_due(cost: Cost, now: float) -> bool:
    """Whether nobody needs it any more."""
    return cost.gone_since is not None and not cost.meters and not cost.rest and now - cost.gone_since >= KEPT
