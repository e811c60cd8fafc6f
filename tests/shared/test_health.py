"""Health: alive, ready when every named check passes, and metrics to scrape."""

import aiohttp
import pytest

from shared.errors import Misconfigured
from shared.health import Health
from shared.metrics import Metrics


async def get(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.text()


async def test_ready_when_all_checks_pass_and_the_failing_ones_are_named() -> None:
    health, synced = Health(), [False]
    health.add_check("bus", lambda: True)
    health.add_check("synced", lambda: synced[0])
    async with health.serve("127.0.0.1", 0) as port:
        assert port == health.port != 0
        status, body = await get(port, "/readyz")
        assert (status, health.ready) == (503, False)
        assert '"failing": ["synced"]' in body
        synced[0] = True
        status, body = await get(port, "/readyz")
        assert (status, health.ready) == (200, True)
        assert '"failing": []' in body
    assert health.port == 0


async def test_a_standby_is_no_part_that_works_and_keeps_nobody_waiting() -> None:
    """A rolling update waits for the new process to be ready, and the new one for the lease of the old."""
    health, waits = Health(), [True]
    health.add_check("executor", lambda: False, standby=lambda: waits[0])
    async with health.serve("127.0.0.1", 0) as port:
        status, body = await get(port, "/readyz")
        assert (status, health.ready, health.failing()) == (200, False, ["executor"])
        assert '"standby": ["executor"]' in body
        waits[0] = False
        status, body = await get(port, "/readyz")
        assert (status, '"failing": ["executor"]' in body) == (503, True)


async def test_alive_though_not_ready() -> None:
    health = Health()
    health.add_check("never", lambda: False)
    async with health.serve("127.0.0.1", 0) as port:
        assert (await get(port, "/healthz"))[0] == 200


async def test_a_check_that_fails_is_not_ready_and_breaks_nothing() -> None:
    health = Health()
    health.add_check("broken", lambda: bool(1 / 0))
    async with health.serve("127.0.0.1", 0) as port:
        assert (await get(port, "/readyz"))[0] == 503


async def test_metrics_of_all_services_of_the_process() -> None:
    health = Health()
    for service in ("scheduler", "executor"):
        metrics = Metrics(service)
        metrics.gauge("up", "One.").set(1)
        health.add_metrics(metrics)
    async with health.serve("127.0.0.1", 0) as port:
        status, body = await get(port, "/metrics")
    assert status == 200
    assert "brim_scheduler_up 1.0" in body
    assert "brim_executor_up 1.0" in body


async def test_a_service_that_begins_again_shows_its_metrics_once() -> None:
    health = Health()
    for value in (1, 2):
        metrics = Metrics("inventory")
        metrics.gauge("members", "Members").set(value)
        health.add_metrics(metrics)
    async with health.serve("127.0.0.1", 0) as port:
        _, body = await get(port, "/metrics")
    assert body.count("brim_inventory_members 2.0") == 1
    assert body.count("# TYPE brim_inventory_members gauge") == 1


async def test_a_port_in_use_is_a_sentence() -> None:
    async with Health().serve("127.0.0.1", 0) as port:
        with pytest.raises(Misconfigured, match="set BRIM_HEALTH__PORT"):
            async with Health().serve("127.0.0.1", port):
                pass
