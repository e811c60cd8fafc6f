"""/healthz (the process lives), /readyz (all named checks pass), /metrics (Prometheus)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from shared.errors import Misconfigured
from shared.metrics import CONTENT_TYPE, Metrics

log = logging.getLogger("brim.health")

Check = Callable[[], bool]


class Health:
    """Named checks and metrics of one process; `serve` makes them visible.

    A check is a cheap function: True when that part is ready. A check that raises counts as not ready. A part that
    stands by, because another process does its work, is not ready here; the process is, and /readyz says so: whoever
    replaces one process by the next must not wait for a lease that the first one holds.
    """

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._standby: dict[str, Check] = {}
        self._metrics: list[Metrics] = []
        self._port = 0

    @property
    def port(self) -> int:
        """The port served on, 0 while not serving."""
        return self._port

    def add_check(self, name: str, check: Check, *, standby: Check | None = None) -> None:
        """standby: True while another process does this part's work and this one waits to take it over."""
        self._checks[name] = check
        self._standby.pop(name, None)
        if standby is not None:
            self._standby[name] = standby

    def add_metrics(self, metrics: Metrics) -> None:
        """A service that is started again in the same process replaces its metrics."""
        self._metrics = [known for known in self._metrics if known.service != metrics.service]
        self._metrics.append(metrics)

    def failing(self) -> list[str]:
        """Names of the checks that do not pass now."""
        return [name for name, check in self._checks.items() if not _passes(name, check)]

    def standing_by(self) -> list[str]:
        """Names of those checks that do not pass only because another process does the work."""
        return [name for name in self.failing() if name in self._standby and _passes(name, self._standby[name])]

    @property
    def ready(self) -> bool:
        """All of it works here. Not so for a standby, though its /readyz answers 200."""
        return not self.failing()

    @asynccontextmanager
    async def serve(self, host: str, port: int) -> AsyncIterator[int]:
        """Serve while the block runs; yields the port (port 0 takes a free one). Raises Misconfigured."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics_page)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, host, port).start()
            except OSError as error:
                raise Misconfigured(
                    f"health endpoint {host}:{port} cannot be opened ({error.strerror or error}): "
                    "set BRIM_HEALTH__PORT to a free port, or to 0 for any"
                ) from None
            self._port = int(runner.addresses[0][1])
            yield self._port
        finally:
            self._port = 0
            await runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        standby = self.standing_by()
        failing = [name for name in self.failing() if name not in standby]
        body = {"ready": not failing, "failing": failing, "standby": standby, "checks": sorted(self._checks)}
        return web.json_response(body, status=503 if failing else 200)

    async def _metrics_page(self, _request: web.Request) -> web.Response:
        body = b"".join(metrics.render() for metrics in self._metrics)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})


def _passes(name: str, check: Check) -> bool:
    try:
        return check()
    except Exception:  # a broken check must show as "not ready", not as a broken page
        log.exception("readiness check %s failed", name)
        return False
