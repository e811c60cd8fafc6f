"""Faults on demand: what a member's API server does wrong, so that its clients can be seen to cope."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web

from simulator.statuses import ApiError

Kind = Literal["status", "hang", "reset", "rubbish"]

RUBBISH = b"\x00\xff<<not json"

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass
class Fault:
    """One rule. method: an HTTP method or `*`. path: a regular expression found in path and query.

    times: how many requests it still hits, None for all until it is cleared. hits: how many it has hit.
    """

    kind: Kind
    method: str = "*"
    path: str = ""
    status: int = 500
    retry_after: int = 0  # seconds
    times: int | None = None
    body: bytes = RUBBISH
    hits: int = 0
    _pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._pattern = re.compile(self.path)

    def takes(self, method: str, path: str) -> bool:
        """Whether this request is hit; counts it if so."""
        if self.times is not None and self.hits >= self.times:
            return False
        if self.method not in ("*", method) or not self._pattern.search(path):
            return False
        self.hits += 1
        return True


class Faults:
    """The faults of one member, tried in the order they were added."""

    def __init__(self) -> None:
        self._rules: list[Fault] = []

    def answer(
        self, status: int, *, method: str = "*", path: str = "", times: int | None = None, retry_after: int = 0
    ) -> Fault:
        """Answer matching requests with an error status."""
        return self._add(Fault("status", method, path, status, retry_after, times))

    def hang(self, *, method: str = "*", path: str = "", times: int | None = None) -> Fault:
        """Never answer matching requests."""
        return self._add(Fault("hang", method, path, times=times))

    def reset(self, *, method: str = "*", path: str = "", times: int | None = None) -> Fault:
        """Cut the connection of matching requests."""
        return self._add(Fault("reset", method, path, times=times))

    def rubbish(self, *, method: str = "*", path: str = "", times: int | None = None, body: bytes = RUBBISH) -> Fault:
        """Answer matching requests with 200 and a body that is not what was asked for."""
        return self._add(Fault("rubbish", method, path, times=times, body=body))

    def _add(self, fault: Fault) -> Fault:
        self._rules.append(fault)
        return fault

    def clear(self, fault: Fault | None = None) -> None:
        """End one fault, or all."""
        self._rules = [] if fault is None else [rule for rule in self._rules if rule is not fault]

    async def strike(self, request: web.Request, path: str) -> web.Response | None:
        """The wrong answer to a request that a fault takes; None when none does."""
        fault = next((rule for rule in self._rules if rule.takes(request.method, path)), None)
        if fault is None:
            return None
        match fault.kind:
            case "status":
                reason = _REASONS.get(fault.status, "")
                raise ApiError(fault.status, reason, "a fault was injected", retry_after=fault.retry_after)
            case "hang":
                await asyncio.Event().wait()
            case "reset":
                if request.transport is not None:
                    request.transport.abort()
                return web.Response(status=500)
        return web.Response(body=fault.body, content_type="application/json")
