"""Request and reply over core NATS. What a handler raises reaches the caller as the same error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

import anyio
from nats.aio.msg import Msg

from shared import telemetry
from shared.bus import headers as names
from shared.bus.connection import NO_RESPONDERS, Connection, status_of
from shared.bus.message import NO_HEADERS, Message
from shared.bus.streams import template_of
from shared.errors import BrimError, BusUnavailable, NotPermitted, TooLarge

log = logging.getLogger("brim.bus")

GRACE = 2.0  # seconds that requests in progress get when the endpoint ends
WAITING_PER_HANDLER = 64  # requests that may wait for each handler; more are answered with "busy"


async def request(
    connection: Connection,
    subject: str,
    payload: bytes,
    *,
    timeout: float,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    own = dict(headers or {})
    parent = own if telemetry.TRACEPARENT in own and not telemetry.has_context() else None
    with telemetry.span(f"send {template_of(subject)}", kind="client", parent=parent):
        telemetry.inject(own)
        reply = await connection.ask(subject, payload, headers=own or None, timeout=timeout)
        if status_of(reply) == NO_RESPONDERS:
            raise BusUnavailable(f"no service answers on {subject}: is it running?", code="NotServed")
        if reply.headers and names.ERROR in reply.headers:
            raise names.error_from_reply(reply.data, reply.headers)
        return reply.data


class _Endpoint:
    def __init__(
        self, connection: Connection, handler: Callable[[Message], Awaitable[bytes]], concurrency: int
    ) -> None:
        self._connection = connection
        self._handler = handler
        self._slots = asyncio.Semaphore(concurrency)
        self._limit = concurrency * WAITING_PER_HANDLER
        self.tasks: set[asyncio.Task[None]] = set()

    async def on_request(self, raw: Msg) -> None:
        if len(self.tasks) >= self._limit:
            busy = BusUnavailable(f"the service on {raw.subject} has too much to do: try again later")
            await self._answer(raw, *names.error_reply(busy))
            return
        task = asyncio.create_task(self._serve(raw), name=f"serve {raw.subject}")
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _serve(self, raw: Msg) -> None:
        async with self._slots:
            data, headers = await self._result(raw)
            await self._answer(raw, data, headers)

    async def _result(self, raw: Msg) -> tuple[bytes, dict[str, str] | None]:
        message = Message(raw.subject, raw.data, headers=raw.headers or NO_HEADERS)
        try:
            with telemetry.span(f"process {template_of(raw.subject)}", kind="server", parent=message.headers):
                return await self._handler(message), None
        except BrimError as error:
            return names.error_reply(error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            log.exception("a request on %s was cancelled by its own handler", raw.subject)
        except Exception:  # whatever it is, the caller must hear of it and the endpoint live on
            log.exception("a request on %s failed", raw.subject)
        return names.error_reply(BrimError(f"the service on {raw.subject} failed: its log says why"))

    async def _answer(self, raw: Msg, data: bytes, headers: dict[str, str] | None) -> None:
        if not raw.reply:
            return
        try:
            try:
                await self._connection.send(raw.reply, data, headers=headers)
            except TooLarge as error:
                data, headers = names.error_reply(error)
                await self._connection.send(raw.reply, data, headers=headers)
        except BrimError as error:
            log.warning("an answer on %s could not be sent: %s", raw.subject, error)


async def serve(
    connection: Connection,
    subject: str,
    handler: Callable[[Message], Awaitable[bytes]],
    *,
    queue: str | None,
    concurrency: int,
    on_serving: Callable[[], None] | None = None,
) -> None:
    endpoint = _Endpoint(connection, handler, concurrency)
    subscribed = await connection.subscribe(subject, endpoint.on_request, queue=queue or "")
    try:
        await connection.flushed()
        if on_serving is not None and not subscribed.refused.is_set():
            on_serving()
        await subscribed.refused.wait()
        raise NotPermitted(subscribed.why)
    finally:
        with anyio.CancelScope(shield=True):
            await connection.unsubscribe(subscribed)
            if endpoint.tasks:
                await asyncio.wait(endpoint.tasks, timeout=GRACE)
            for task in list(endpoint.tasks):
                task.cancel()
            await asyncio.gather(*endpoint.tasks, return_exceptions=True)
