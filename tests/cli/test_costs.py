"""What cost and rollout tables say."""

from __future__ import annotations

from cli.costs import cost_table, money
from cli.fleet_tables import Workload
from cli.rollouts import history_table, images, rollout_table, waves_line, workload_table
from shared.contracts.base import JsonObject
from shared.contracts.cost import Booked, Cost, Meter, Rest
from shared.contracts.desired import Desired, Revision
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement, Share, Waves
from shared.contracts.refs import ObjectRef, Order
from shared.contracts.status import RolloutStatus, Status, Unschedulable

WEB = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="test", name="web")
ROLLOUT = ObjectRef(group="rollouts.kruise.io", version="v1beta1", kind="Rollout", namespace="test", name="web")
ORDER = Order(epoch=1, counter=1)


def test_what_ran_and_what_runs_per_unit() -> None:
    cost = Cost(
        member="idc",
        ref=WEB,
        booked=(Booked(unit="eci", amount=1.0, hours=2.0, pods=1),),
        meters=(
            Meter(pod="a", uid="1", unit="eci", since=0.0, per_hour=0.5),
            Meter(pod="b", uid="2", unit="ecs", since=1800.0, per_hour=2.0),
        ),
        observed_at=0.0,
    )
    table = cost_table([cost], 3600.0)
    assert table.rows == (
        ("deployment/web", "idc", "ecs", "1", "2.00", "0.50", "1.00"),
        ("deployment/web", "idc", "eci", "1", "0.5000", "3.00", "1.50"),
        ("TOTAL", "", "", "2", "2.50", "", "2.50"),
    )


def test_pods_without_a_meter_of_their_own_are_counted_like_the_others() -> None:
    meters = (Meter(pod="a", uid="1", unit="eci", since=0.0, per_hour=0.5),)
    rest = (Rest(unit="eci", pods=4, since=0.0, per_hour=2.0),)
    table = cost_table([Cost(member="idc", ref=WEB, meters=meters, rest=rest, observed_at=0.0)], 3600.0)
    assert table.rows == (("deployment/web", "idc", "eci", "5", "2.50", "5.00", "2.50"),)


def test_small_amounts_keep_what_makes_them_something() -> None:
    assert [money(amount) for amount in (0.0, 0.0123, 12.345)] == ["0.00", "0.0123", "12.35"]


def test_rollouts_have_kubectls_columns_with_the_cluster_second() -> None:
    rollout = RolloutStatus(phase="Progressing", step=1, steps=3, state="StepPaused", message="confirm", paused=True)
    status = Status(member="idc", ref=ROLLOUT, observed_at=1.0, created_at=1.0, rollout=rollout)
    table = rollout_table([status], 61.0)
    assert table.columns == ("NAME", "CLUSTER", "STATUS", "CANARY_STEP", "CANARY_STATE", "MESSAGE", "AGE")
    assert table.rows == (("web", "idc", "Progressing (paused)", "1/3", "StepPaused", "confirm", "60s"),)


def placement(**fields: object) -> Placement:
    shares = (Share(member="idc", replicas=2, revision=2), Share(member="ack", replicas=1, revision=1))
    return Placement.model_validate(
        {
            "ref": WEB,
            "uid": "u",
            "generation": 2,
            "order": ORDER,
            "revision": 2,
            "shares": shares,
            "cause": "changed",
            "decided_at": 1.0,
            **fields,
        }
    )


def workload(*statuses: Status, outcomes: tuple[Outcome, ...] = ()) -> Workload:
    desired = Desired(
        ref=WEB, uid="u", generation=2, revision=2, order=ORDER, manifest={}, created_at=1.0, changed_at=1.0
    )
    return Workload(desired, placement(), statuses, outcomes)


def test_which_member_has_which_revision() -> None:
    idc = Status(member="idc", ref=WEB, observed_at=1.0, revision=2, updated=2, ready=2)
    assert workload_table(workload(idc), []).rows == (
        ("idc", "2", "2", "2/2", "2/2", "up to date", "<none>"),
        ("ack", "1", "-", "0/1", "0/1", "on its way", "<none>"),
    )


def test_what_a_member_waits_for() -> None:
    step = RolloutStatus(phase="Progressing", step=1, steps=3, message="Rollout is in step(1/3)")
    of_rollout = Status(member="idc", ref=ROLLOUT, observed_at=1.0, rollout=step)
    waiting = (Unschedulable(since=1.0, count=1, message="0/3 nodes are available"),)
    idc = Status(member="idc", ref=WEB, observed_at=1.0, revision=2, updated=1, rolling=True, unschedulable=waiting)
    ack = Outcome(member="ack", ref=WEB, uid="u", order=ORDER, result="retrying", message="it does not answer", at=1.0)
    rows = workload_table(workload(idc, outcomes=(ack,)), [of_rollout]).rows
    assert [row[5:] for row in rows] == [
        ("rolling", "Rollout is in step(1/3); 1 unschedulable: no node takes them (0/3 nodes are available)"),
        ("on its way", "retrying: it does not answer"),
    ]


def test_waves_in_a_sentence() -> None:
    waves = Waves(
        rollout="web", revision=2, wave=0, waves=3, state="failed", message="wave canary failed: idc: 3 restarts"
    )
    assert waves_line(placement(waves=waves)) == (
        "FleetRollout web: revision 2, wave 1 of 3, failed: wave canary failed: idc: 3 restarts"
    )
    assert waves_line(placement()) == ""


def with_image(image: str) -> JsonObject:
    return {"spec": {"template": {"spec": {"containers": [{"image": image}]}}}}


def test_history() -> None:
    desired = Desired(
        ref=WEB,
        uid="u",
        generation=2,
        revision=2,
        order=Order(),
        manifest=with_image("web:2"),
        created_at=1.0,
        changed_at=1.0,
    )
    older = Revision(uid="u", number=1, manifest=with_image("web:1"), superseded_at=0.0)
    assert history_table(desired, [older], placement()).rows == (
        ("2", "now", "web:2", "idc"),
        ("1", "until 1970-01-01 00:00:00", "web:1", "ack"),
    )
    assert images({}) == "<none>"
