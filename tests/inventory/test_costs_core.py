"""What workloads cost: exact whatever the order of what becomes known, and across restarts; nothing is booked twice."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inventory.core.costs import KEPT, MOST, Accounts, Payment, closed, is_due
from shared.contracts.cost import Cost, Meter
from shared.contracts.refs import ObjectRef

WEB = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="shop", name="web")
DB = ObjectRef(group="apps", version="v1", kind="StatefulSet", namespace="shop", name="db")
HOUR = 3600.0


def payment(since: float = 0.0, per_hour: float = 1.0, **fields: object) -> Payment:
    return replace(Payment(WEB, "web-1", "eci", since, per_hour), **fields)  # type: ignore[arg-type]


def cost(accounts: Accounts, ref: ObjectRef = WEB, now: float = 0.0) -> Cost:
    found = accounts.cost(ref.key, now)
    assert found is not None
    return found


def booked(found: Cost) -> dict[str, tuple[float, float, int]]:
    return {one.unit: (one.amount, one.hours, one.pods) for one in found.booked}


def test_a_pod_is_metered_while_it_runs_and_booked_when_it_ends() -> None:
    accounts = Accounts("idc")
    assert accounts.observe("u", payment(since=100.0, per_hour=2.0, workload="w"), now=105.0) == {WEB.key}
    found = cost(accounts)
    assert (found.member, found.uid, found.booked) == ("idc", "w", ())
    assert found.meters == (Meter(pod="web-1", uid="u", unit="eci", since=100.0, per_hour=2.0),)
    assert found.amount(100.0 + HOUR / 2) == 1.0
    assert accounts.observe("u", payment(since=100.0, per_hour=2.0, until=100.0 + 2 * HOUR), now=9e9) == {WEB.key}
    assert booked(cost(accounts)) == {"eci": (4.0, 2.0, 1)}
    assert accounts.take_booked() == {"eci": 4.0}
    assert accounts.take_booked() == {}


def test_what_is_known_already_changes_nothing() -> None:
    accounts = Accounts("idc")
    accounts.observe("u", payment(), now=0.0)
    assert accounts.observe("u", payment(), now=50.0) == set()
    accounts.observe("u", payment(until=HOUR), now=HOUR)
    for late in (payment(until=HOUR), payment(), payment(until=9 * HOUR)):
        assert accounts.observe("u", late, now=9 * HOUR) == set()
    assert accounts.end("u", 9 * HOUR) == set()
    assert booked(cost(accounts)) == {"eci": (1.0, 1.0, 1)}


def test_a_pod_that_costs_nothing_has_no_meter() -> None:
    accounts = Accounts("idc")
    assert accounts.observe("u", payment(per_hour=0.0), now=0.0) == set()
    assert accounts.cost(WEB.key, 0.0) is None


def test_a_price_that_is_found_later_counts_from_then_on() -> None:
    accounts = Accounts("idc")
    accounts.observe("u", payment(per_hour=0.0), now=0.0)
    accounts.observe("u", payment(per_hour=1.0), now=HOUR)
    assert cost(accounts).amount(3 * HOUR) == 2.0


def test_at_another_price_the_time_so_far_is_booked() -> None:
    accounts = Accounts("idc")
    accounts.observe("u", payment(per_hour=1.0, unit="ecs"), now=0.0)
    accounts.observe("u", payment(per_hour=3.0, unit="ecs"), now=HOUR)
    assert booked(cost(accounts)) == {"ecs": (1.0, 1.0, 0)}
    accounts.observe("u", payment(per_hour=0.0, unit="ecs"), now=2 * HOUR)  # its node is gone for a while
    accounts.observe("u", payment(per_hour=3.0, unit="ecs"), now=5 * HOUR)
    accounts.end("u", 6 * HOUR)
    assert booked(cost(accounts)) == {"ecs": (7.0, 6.0, 1)}
    assert accounts.per_hour == {"idc": 0.0, "ecs": 0.0, "eci": 0.0}


def test_a_meter_moves_whole_to_an_owner_that_is_better_known() -> None:
    accounts = Accounts("idc")
    accounts.observe("u", payment(), now=0.0)
    assert accounts.observe("u", payment(ref=DB), now=HOUR) == {WEB.key, DB.key}
    assert accounts.cost(WEB.key, 0.0) is None, "nothing is left there"
    assert cost(accounts, DB).amount(2 * HOUR) == 2.0
    assert accounts.ref_of("u") == DB


@pytest.mark.parametrize(
    ("accounts_at", "seen", "amount"),
    [
        pytest.param(HOUR, None, 1.0, id="went meanwhile: until it was published last"),
        pytest.param(2 * HOUR, None, 2.0, id="went meanwhile: until somebody looked last"),
        pytest.param(HOUR, payment(), 5.0, id="runs still"),
        pytest.param(HOUR, payment(until=4 * HOUR), 4.0, id="ended meanwhile, and says when"),
    ],
)
def test_a_successor_takes_up_what_was_published(accounts_at: float, seen: Payment | None, amount: float) -> None:
    first = Accounts("idc")
    first.observe("u", payment(), now=0.0)
    second = Accounts("idc", watched_until=accounts_at)
    second.take_up(cost(first, now=HOUR))
    if seen is not None:
        second.observe("u", seen, now=5 * HOUR)
    second.end_missing({"u"} if seen else set())
    assert cost(second).amount(5 * HOUR) == pytest.approx(amount)


def test_what_a_predecessor_booked_is_not_booked_again() -> None:
    first = Accounts("idc")
    first.observe("u", payment(), now=0.0)
    first.observe("u", payment(until=HOUR), now=HOUR)
    second = Accounts("idc", watched_until=HOUR)
    second.take_up(cost(first, now=HOUR))
    second.observe("u", payment(until=HOUR), now=2 * HOUR)  # the finished pod is still there
    assert booked(cost(second)) == {"eci": (1.0, 1.0, 1)}


def test_what_ran_from_end_to_end_while_nobody_looked_is_booked_while_it_can_be_seen() -> None:
    accounts = Accounts("idc", watched_until=HOUR)
    accounts.observe("u", payment(since=2 * HOUR, until=3 * HOUR), now=9 * HOUR)
    assert booked(cost(accounts)) == {"eci": (1.0, 1.0, 1)}


def test_a_meter_that_moved_when_half_of_it_was_published_counts_once() -> None:
    """Both accounts hold it: the one it left was not published any more."""
    meter = Meter(pod="web-1", uid="u", unit="eci", since=0.0, per_hour=1.0)
    old = Cost(member="idc", ref=WEB, meters=(meter,), observed_at=HOUR)
    new = Cost(member="idc", ref=DB, meters=(meter.model_copy(update={"since": HOUR}),), observed_at=HOUR)
    for order in ((old, new), (new, old)):
        accounts = Accounts("idc")
        for one in order:
            accounts.take_up(one)
        total = sum(cost(accounts, ref).amount(3 * HOUR) for ref in (WEB, DB))
        assert total == pytest.approx(3.0)


# -- how long an account is kept


def test_an_account_outlives_its_owner_by_a_week() -> None:
    accounts = Accounts("idc")
    accounts.observe("u", payment(), now=0.0)
    assert accounts.idle == ()
    assert accounts.owner_is(WEB, there=False, now=5.0) == set(), "it is being paid for"
    accounts.end("u", HOUR)
    assert accounts.idle == (WEB,)
    assert accounts.owner_is(WEB, there=True, now=1e9) == set(), "scaled to nothing, for however long"
    assert accounts.owner_is(WEB, there=False, now=1e9) == {WEB.key}
    assert cost(accounts).gone_since == 1e9
    assert accounts.owner_is(WEB, there=True, now=1e9 + 1) == {WEB.key}
    assert cost(accounts).gone_since is None
    accounts.owner_is(WEB, there=False, now=2e9)
    assert accounts.owner_is(WEB, there=False, now=2e9 + KEPT - 1) == set()
    assert accounts.owner_is(WEB, there=False, now=2e9 + KEPT) == {WEB.key}
    assert accounts.cost(WEB.key, 0.0) is None


def test_a_pod_of_an_owner_that_was_gone_brings_it_back() -> None:
    accounts = Accounts("idc")
    accounts.observe("u", payment(until=HOUR), now=HOUR)
    accounts.owner_is(WEB, there=False, now=2 * HOUR)
    accounts.observe("v", payment(since=3 * HOUR), now=3 * HOUR)
    assert cost(accounts).gone_since is None


def test_a_member_that_leaves_closes_its_accounts() -> None:
    accounts = Accounts("idc")
    accounts.observe("u", payment(), now=0.0)
    found = closed(cost(accounts), at=HOUR, now=2 * HOUR)
    assert (found.member, found.meters, found.gone_since, booked(found)) == (
        "idc",
        (),
        2 * HOUR,
        {"eci": (1.0, 1.0, 1)},
    )
    assert closed(found, at=9 * HOUR, now=9 * HOUR).gone_since == 2 * HOUR
    assert not is_due(found, 2 * HOUR + KEPT - 1)
    assert is_due(found, 2 * HOUR + KEPT)


# -- whatever happens, the sum is the integral

END = 40


@dataclass(frozen=True)
class Life:
    """A pod: paid for from `since` for `lasts` hours. Its price and what is known of its owner change once.

    stays: finished, its object is still there; else it is deleted when it ends.
    """

    since: int
    lasts: int
    prices: tuple[int, int]
    refs: tuple[ObjectRef, ObjectRef]
    changes: int
    stays: bool

    @property
    def until(self) -> int:
        return self.since + self.lasts

    def at(self, now: int) -> Payment | None:
        """What the member says of it; None where there is no such object."""
        if now < self.since or (now >= self.until and not self.stays):
            return None
        later = now >= self.changes
        until = self.until * HOUR if now >= self.until else None
        return Payment(self.refs[later], "p", "eci", self.since * HOUR, self.prices[later], until)


refs = st.sampled_from([WEB, DB])
lives = st.builds(
    Life,
    since=st.integers(0, 25),
    lasts=st.integers(1, 20),
    prices=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    refs=st.tuples(refs, refs),
    changes=st.integers(0, END),
    stays=st.booleans(),
)


def expected(life: Life, up: list[bool], restarts: set[int]) -> float:
    """Hour by hour at the price of that hour, as far as anybody could know.

    A change of price is known when somebody looks. A pod that is deleted while nobody looks, or between one process and
    the next, is known to have run until somebody looked last.
    """
    looks = [hour for hour in range(END) if up[hour]]
    seen = [hour for hour in looks if life.at(hour) is not None]
    if not seen:
        return 0.0
    until = min(life.until, END - 1)
    witnessed = up[until] and up[until - 1] and until not in restarts
    if life.until < END and not life.stays and not witnessed:
        until = max(hour for hour in looks if hour < life.until)
    total, price = 0.0, life.prices[seen[0] >= life.changes]
    for hour in range(life.since, until):
        if up[hour]:
            price = life.prices[hour >= life.changes]
        total += price
    return total


@settings(max_examples=300)
@given(
    st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), lives, min_size=1),
    st.sets(st.integers(1, END - 2)),
    st.sets(st.integers(1, END - 1)),
    st.randoms(use_true_random=False),
)
def test_the_sum_is_the_integral(
    pods: dict[str, Life], down: set[int], restarts: set[int], dice: random.Random
) -> None:
    """Every hour the states of all pods come, in any order and some of them twice, unless nobody looks; processes die,
    and others take up what was published."""
    up = [hour not in down for hour in range(END)]
    accounts, present = Accounts("idc"), set[str]()
    published: list[Cost] = []
    looked_at = 0
    for hour in range(END):
        if not up[hour]:
            continue
        if hour in restarts or not up[hour - 1]:
            accounts, present = Accounts("idc", watched_until=looked_at * HOUR), set()
            for one in published:
                accounts.take_up(one)
        told = [(name, life.at(hour)) for name, life in pods.items()]
        told += dice.choices(told, k=2)
        dice.shuffle(told)
        for name, seen in told:
            if seen is not None:
                present.add(name)
                accounts.observe(name, seen, now=hour * HOUR)
            elif name in present:
                accounts.end(name, hour * HOUR)
            if seen is not None and seen.until is not None:  # somebody still says that it runs
                accounts.observe(name, replace(seen, until=None), now=hour * HOUR)
        accounts.end_missing(present)
        published = [one for ref in (WEB, DB) if (one := accounts.cost(ref.key, hour * HOUR)) is not None]
        looked_at = hour
        counted = sum(len(one.meters) + sum(each.pods for each in one.booked) for one in published)
        assert counted <= len(pods), "no pod is counted twice"
        assert sum(accounts.per_hour.values()) == pytest.approx(sum(one.per_hour for one in published))
    found = sum(one.amount((END - 1) * HOUR) for one in published)
    assert found == pytest.approx(sum(expected(life, up, restarts) for life in pods.values()))


# -- more meters than a message holds


def crowd(count: int, since: float = 0.0) -> Accounts:
    accounts = Accounts("idc")
    for number in range(count):
        accounts.observe(f"u{number}", payment(since=since + number, pod=f"p{number}"), now=since + number)
    return accounts


def test_beyond_so_many_meters_the_rest_is_one_sum() -> None:
    accounts = crowd(5)
    found = accounts.cost(WEB.key, HOUR, most=2)
    assert found is not None
    assert [meter.uid for meter in found.meters] == ["u0", "u1"]
    (rest,) = found.rest
    assert (rest.pods, rest.since, rest.per_hour) == (3, HOUR, 3.0)
    everything = cost(accounts, now=HOUR)
    for at in (HOUR, 3 * HOUR):
        assert found.amount(at) == pytest.approx(everything.amount(at))
    assert found.per_hour == everything.per_hour == 5.0


def test_an_account_of_any_size_fits_a_message() -> None:
    accounts = Accounts("idc")
    for number in range(MOST + 500):
        name = f"{number:0253}"
        accounts.observe(f"{number:036}", payment(pod=name, since=1.7e9 + number / 7, per_hour=1 / 7), now=1.7e9)
    found = cost(accounts, now=1.8e9)
    assert len(found.meters) == MOST
    assert len(found.encode()) < 1024 * 1024 - 4096


def test_a_successor_goes_on_with_pods_that_had_no_meter_of_their_own() -> None:
    published = crowd(5).cost(WEB.key, HOUR, most=2)
    assert published is not None
    second = Accounts("idc", watched_until=2 * HOUR)
    second.take_up(published)
    for number in range(4):  # the fifth went while nobody looked
        second.observe(f"u{number}", payment(since=float(number), pod=f"p{number}"), now=3 * HOUR)
    assert cost(second, now=3 * HOUR).amount(3 * HOUR) == pytest.approx(published.amount(3 * HOUR)), (
        "until all is listed"
    )
    second.end_missing({f"u{number}" for number in range(4)})
    four = sum(4 * HOUR - number for number in range(4)) / HOUR
    assert cost(second).amount(4 * HOUR) == pytest.approx(four + (2 * HOUR - 4) / HOUR)
    assert [one.pods for one in cost(second).booked] == [1]


def test_a_member_that_leaves_closes_the_rest_as_well() -> None:
    published = crowd(3).cost(WEB.key, HOUR, most=1)
    assert published is not None
    found = closed(published, at=2 * HOUR, now=3 * HOUR)
    assert (found.meters, found.rest) == ((), ())
    assert found.amount(9 * HOUR) == pytest.approx(published.amount(2 * HOUR))
    assert sum(one.pods for one in found.booked) == 3
