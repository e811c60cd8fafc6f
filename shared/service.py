"""How a service runs: what it is given, its root tasks, and how it ends.

    async def main(context: ServiceContext) -> None:
        await root_tasks({"watch": watcher.run, "publish": publisher.run})

    if __name__ == "__main__":
        sys.exit(run("inventory", main))

Alone, `run` brings settings, logs, traces, the health endpoint, signals and the bus. Inside another process
(`brim up`, tests) `service_context` gives the same context without any of what belongs to a process.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf

import anyio

from shared import logs, telemetry
from shared.bus import KEEPER, Bus
from shared.clock import Clock
from shared.errors import BrimError, Misconfigured
from shared.health import Health
from shared.metrics import Gauge, Metrics
from shared.settings import LogSettings, Settings, load

MISCONFIGURED = 2  # exit status
FAILED = 1

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class ServiceContext:
    """All that a service is given."""

    name: str
    bus: Bus
    clock: Clock
    settings: Settings
    health: Health
    metrics: Metrics
    log: logging.Logger


Main = Callable[[ServiceContext], Awaitable[None]]


@asynccontextmanager
async def service_context(
    name: str,
    settings: Settings,
    *,
    clock: Clock | None = None,
    bus: Bus | None = None,
    health: Health | None = None,
) -> AsyncIterator[ServiceContext]:
    """A service's context, with a bus connection of its own unless one is given, and the streams in place."""
    health = health or Health()
    metrics = Metrics(name)
    health.add_metrics(metrics)
    connected: list[Bus] = []
    lag = consumer_lag(metrics)
    health.add_check(name, lambda: False)  # not ready before the service has put its own check in this one's place
    health.add_check("bus", lambda: bool(connected) and connected[0].connected)
    log = logging.getLogger(f"brim.{name}")
    clock = clock or settings.clock.clock()
    metrics.before_rendering(lambda: lag.set_all(connected[0].lags(time.time()) if connected else {}, "stream"))
    if bus is not None:
        connected.append(bus)
        yield ServiceContext(name, bus, clock, settings, health, metrics, log)
        return
    async with Bus.connect(settings.bus, name=name) as own:
        connected.append(own)
        yield ServiceContext(name, own, clock, settings, health, metrics, log)


def consumer_lag(metrics: Metrics) -> Gauge:
    """The one metric that all services have."""
    return metrics.gauge("consumer_lag_seconds", "Age of the oldest message taken and not handled", ("stream",))


async def streams_in_place(context: ServiceContext) -> None:
    """Wait for the streams, which one of the services makes: the others need no right to change them."""
    if context.name == KEEPER:
        await context.bus.ensure_streams(patience=inf)
    else:
        await context.bus.await_streams(patience=inf)


async def root_tasks(tasks: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
    """Run named tasks side by side; the first to end, well or badly, ends them all.

    Raises what the first failed task raised, itself and not inside a group, after a log line that names the task.
    """
    log = logging.getLogger("brim.service")
    failures: list[Exception] = []

    async def one(name: str, task: Callable[[], Awaitable[None]], scope: anyio.CancelScope) -> None:
        try:
            await task()
        except Exception as error:  # noqa: BLE001 - raised again below, once all tasks have ended
            failures.append(error)
            log.error("root task %s failed: %s", name, _sentence(error))
        else:
            log.info("root task %s ended", name)
        scope.cancel()

    async with anyio.create_task_group() as group:
        for name, task in tasks.items():
            group.start_soon(one, name, task, group.cancel_scope, name=name)
    if failures:
        raise failures[0]


async def run_service(name: str, main: Main, *, settings: Settings | None = None) -> int:
    """Run one service in this process until it ends or a signal says so. Returns the exit status.

    SIGTERM or SIGINT cancels `main`: consumers finish or hand back what is in flight, leases are released. What
    does not end within `settings.grace` seconds is cut off. A second signal has its ordinary effect.
    """
    try:
        settings = settings or load()
    except Misconfigured as error:
        logs.setup(LogSettings())
        logging.getLogger(f"brim.{name}").error("%s", error)
        return MISCONFIGURED
    logs.setup(settings.log)
    telemetry.setup(settings.telemetry, service=name)
    log = logging.getLogger(f"brim.{name}")
    watchdog = threading.Timer(settings.grace, _cut_off, args=(log,))
    watchdog.daemon = True
    status = 0
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_stop_on_signal, group.cancel_scope, watchdog, log)
            await _serve(name, main, settings)
            group.cancel_scope.cancel()
    except* Misconfigured as wrong:
        log.error("%s", _sentence(wrong), extra=_code(wrong))
        status = MISCONFIGURED
    except* Exception as failed:
        log.error("%s stopped: %s", name, _sentence(failed), exc_info=_unexpected(failed), extra=_code(failed))
        status = FAILED
    with anyio.CancelScope(shield=True):
        await telemetry.shutdown()
    watchdog.cancel()
    log.info("%s ended", name)
    return status


async def _serve(name: str, main: Main, settings: Settings) -> None:
    health = Health()
    async with (
        health.serve(settings.health.host, settings.health.port_of(name)) as port,
        service_context(name, settings, health=health) as context,
    ):
        await streams_in_place(context)
        context.log.info("%s runs; health at http://%s:%d/readyz", name, settings.health.host, port)
        await main(context)


async def _stop_on_signal(scope: anyio.CancelScope, watchdog: threading.Timer, log: logging.Logger) -> None:
    with anyio.open_signal_receiver(*STOP_SIGNALS) as signals:
        async for number in signals:
            log.info("%s: finishing what is in flight", signal.Signals(number).name)
            break
    watchdog.start()
    scope.cancel()


def _cut_off(log: logging.Logger) -> None:
    log.critical("what was in flight did not end in time: this process is cut off")
    logging.shutdown()
    os._exit(FAILED)


def run(name: str, main: Main) -> int:
    """`run_service` with an event loop of its own: for `__main__`. Returns the exit status."""
    return anyio.run(lambda: run_service(name, main), backend_options={"use_uvloop": sys.platform != "win32"})


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _sentence(error: BaseException) -> str:
    leaf = _leaf(error)
    return str(leaf) if isinstance(leaf, BrimError) else f"{type(leaf).__name__}: {leaf}"


def _code(error: BaseException) -> dict[str, str]:
    """For machines, beside the sentence."""
    leaf = _leaf(error)
    return {"code": leaf.code} if isinstance(leaf, BrimError) else {}


def _unexpected(error: BaseException) -> BaseException | None:
    """The exception where a traceback helps: a BrimError's sentence says it all."""
    leaf = _leaf(error)
    return None if isinstance(leaf, BrimError) else leaf
