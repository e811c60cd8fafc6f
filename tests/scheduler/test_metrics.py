"""What a scheduler tells Prometheus of the fleet, whoever led before it."""

from __future__ import annotations

import re

from shared.clock import Clock
from shared.contracts import subjects
from shared.service import ServiceContext


class Moved(Clock):
    """Moved by hand."""

    ahead = 0.0

    def now(self) -> float:
        return self.epoch + Moved.ahead


def told(context: ServiceContext, metric: str) -> dict[str, float]:
    """By the metric's one label; without one by ""."""
    pattern = rf'^brim_scheduler_{metric}(?:{{\w+="([^"]*)"}})? (\S+)$'
    found = re.findall(pattern, context.metrics.render().decode(), re.MULTILINE)
    return {label: float(value) for label, value in found}


async def test_a_reservation_whose_pods_do_not_come_grows_old(stage, monkeypatch) -> None:
    monkeypatch.setattr(Moved, "ahead", 0.0)
    async with stage.scheduler(clock=Moved()) as context:
        idc = await stage.member("idc", 4)
        await stage.member("cloud", 4)
        await stage.apply(stage.policy(["idc"], ["cloud"]), stage.deployment(replicas=2))
        placed = await stage.until({"idc": 2})
        await stage.eventually(lambda: told(context, "oldest_reservation_seconds").keys() == {"idc", "cloud"})
        Moved.ahead += 3600.0
        assert told(context, "oldest_reservation_seconds") == {"idc": 3600.0, "cloud": 0.0}
        idc.bound, idc.number = {placed.uid: 2}, 1
        await idc.snapshot()
        await stage.eventually(lambda: told(context, "oldest_reservation_seconds") == {"idc": 0.0, "cloud": 0.0})


async def test_what_waits_is_told_by_whoever_leads_and_by_nobody_else(stage) -> None:
    async with stage.scheduler() as first:
        await stage.member("idc", 2)
        await stage.apply(stage.policy(["idc"]), stage.deployment(replicas=5))
        await stage.until({"idc": 2}, pending=3)
        await stage.eventually(lambda: told(first, "pending_replicas") == {"": 3.0})
        async with stage.scheduler(leads=False) as second:
            await stage.eventually(lambda: told(second, "leading") == {"": 0.0})
            assert told(second, "pending_replicas") == {"": 0.0}
            assert told(second, "oldest_reservation_seconds") == {}
    async with stage.scheduler() as third:
        assert told(third, "pending_replicas") == {"": 3.0}
        assert told(third, "oldest_reservation_seconds")["idc"] >= 0.0


async def test_what_is_refused_or_cannot_be_read_is_counted(stage) -> None:
    async with stage.scheduler() as context:
        await stage.bus.publish(subjects.submit("apply"), b"kind: nonsense")
        await stage.bus.publish(subjects.rebalance(stage.WEB), b"{}")
        await stage.eventually(lambda: told(context, "rejected_total") == {"SUBMIT": 1.0, "REBALANCE": 1.0})
        for subject in (subjects.status("idc", stage.WEB), subjects.capacity("idc")):
            await stage.bus.publish(subject, b"{")
        await stage.eventually(lambda: told(context, "bad_messages_total") == {"STATUS": 1.0, "CAPACITY": 1.0})
