"""The connection to NATS: it opens, mends itself for ever, and matches replies to requests.

nats-py gives up for good in some cases (an authorisation error, a protocol error such as a payload over the
limit). Here a new client then takes over, with the same subscriptions. Replies go through one inbox of our own:
a request costs a dictionary entry and a timer, no task.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import anyio
import nats.errors
from nats.aio.client import Client, Server
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from shared.backoff import Backoff, Retries
from shared.bus import headers as names
from shared.bus import refusal
from shared.bus.lags import Lags
from shared.bus.message import NO_HEADERS
from shared.errors import BusUnavailable, Misconfigured, NotPermitted, Permanent, TooLarge
from shared.settings import BusSettings

log = logging.getLogger("brim.bus")

Callback = Callable[[Msg], Awaitable[None]]

NO_RESPONDERS = "503"
LOG_EVERY = 10.0  # seconds between two lines about a bus that stays away
FLUSH_ENDS = 120  # seconds; a connection that gives no sign is replaced well before
HEADER_OVERHEAD = 16  # "NATS/1.0\r\n" and the closing "\r\n", with some room


@dataclass(slots=True)
class Subscribed:
    """One subscription, which outlives the client that it was made with.

    refused: set once the server said that this user may not have it.
    """

    subject: str
    queue: str
    callback: Callback
    current: Subscription | None = None
    refused: asyncio.Event = field(default_factory=asyncio.Event)
    why: str = ""  # it was refused


class Connection:
    """Use `open` and `close` in pairs. Not safe across threads or event loops."""

    def __init__(self, settings: BusSettings, name: str) -> None:
        self.lags = Lags()
        self._settings = settings
        self._name = name
        self._client = Client()
        self._closing = False
        self._usable = asyncio.Event()
        self._subscriptions: list[Subscribed] = []
        self._pending: dict[str, tuple[str, asyncio.Future[Msg]]] = {}  # by token: where it was asked, and the answer
        self._inbox = self.new_inbox()
        self._next = 0
        self._on_reconnect: list[Callable[[], None]] = []
        self._replacing: asyncio.Task[None] | None = None
        self._flushes: set[asyncio.Task[None]] = set()
        self._logged_at = float("-inf")
        self._last_error = ""
        self._opened = False
        self._refused_at: dict[tuple[str, str], float] = {}

    # -- life ------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Returns once connected, however long that takes. Raises Misconfigured where this user is not let in, or may
        not hear answers."""
        await self._connect()
        try:
            replies = await self.subscribe(f"{self._inbox}.*", self._on_reply)
            await self.flushed()
            if replies.refused.is_set():
                raise Misconfigured(replies.why, code=NotPermitted.code)
        except (asyncio.CancelledError, Permanent):
            with anyio.CancelScope(shield=True):
                await self.close()
            raise
        self._opened = True

    async def close(self) -> None:
        """Send what is buffered, then close. Takes at most two seconds."""
        self._closing = True
        if self._replacing is not None:
            self._replacing.cancel()
            await asyncio.gather(self._replacing, return_exceptions=True)
        self._fail_pending("this process is closing its connection")
        if self._client.is_connected and not await self._flush(1.0):
            log.warning("what was sent last may be lost: NATS did not confirm it")
        try:
            async with asyncio.timeout(1):
                await self._client.close()
        except (nats.errors.Error, OSError, TimeoutError) as error:
            log.warning("the connection to NATS did not close in order: %s", _words(error))
        for flush in self._flushes:
            flush.cancel()

    async def _connect(self) -> None:
        retries = Retries(Backoff(base=0.1, maximum=self._settings.reconnect_max))
        while True:
            client = Client()
            try:
                # The client itself would try for ever at one pace: one round is its, the backoff ours.
                async with asyncio.timeout(self._settings.connect_timeout + 0.5):
                    await self._connect_client(client)
                break
            except (nats.errors.Error, OSError, TimeoutError) as error:
                await self._on_error(error)
                await _close_quietly(client)
            except (asyncio.CancelledError, Misconfigured):
                with anyio.CancelScope(shield=True):
                    await _close_quietly(client)  # it may be half open
                raise
            await asyncio.sleep(retries.next_delay())
        self._client = client
        self._usable.set()

    async def _connect_client(self, client: Client) -> None:
        settings = self._settings
        await client.connect(
            servers=settings.urls,
            name=self._name,
            user=settings.user or None,
            password=settings.password.get_secret_value() or None,
            token=settings.token.get_secret_value() or None,
            user_credentials=str(settings.credentials) if settings.credentials else None,
            connect_timeout=settings.connect_timeout,  # type: ignore[arg-type]  # a float serves
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.1,  # type: ignore[arg-type]  # a float serves
            reconnect_to_server_handler=partial(self._pick_server, client),
            ping_interval=10,
            max_outstanding_pings=2,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnect,
            reconnected_cb=self._on_reconnected,
            closed_cb=partial(self._on_closed, client),
        )

    def _pick_server(self, client: Client, servers: list[Server], _info: dict[str, object]) -> tuple[Server, float]:
        """The server tried least, after a wait that grows with its failures.

        nats-py forgets the socket of an attempt that failed after it was open: it is closed here.
        """
        if client._transport:
            client._transport.close()  # type: ignore[no-untyped-call]
        server = min(servers, key=lambda candidate: (candidate.reconnects, random.random()))
        backoff = Backoff(base=0.05, maximum=self._settings.reconnect_max)
        return server, backoff.delay(server.reconnects) if server.reconnects else 0.02

    async def _on_error(self, error: Exception) -> None:
        """nats-py reports everything here; a bus that stays away is told of once in a while only."""
        words = _words(error)
        if (violation := refusal.violation_of(words)) is not None:
            self._on_violation(violation)
            return
        sentence = f"NATS at {self._settings.shown}: {words}"
        if refusal.is_not_let_in(words):
            sentence = refusal.not_let_in(self._settings)
            if not self._opened:
                raise Misconfigured(sentence, code="NotLetIn")  # nats-py lets it through to `_connect`
        if words == self._last_error and time.monotonic() < self._logged_at + LOG_EVERY:
            return
        self._last_error, self._logged_at = words, time.monotonic()
        log.warning("%s; trying again for ever", sentence)

    def _on_violation(self, violation: refusal.Violation) -> None:
        """The server goes on; whoever waits for what it refused must hear of it, and so must an operator."""
        why = ""
        if violation.verb == "subscribe":
            for subscribed in self._subscriptions:
                if subscribed.subject.lower() == violation.subject:
                    why = subscribed.why = refusal.not_permitted(self._settings, violation.verb, subscribed.subject)
                    subscribed.refused.set()
        else:
            for subject, future in self._pending.values():
                if subject.lower() == violation.subject and not future.done():
                    why = refusal.not_permitted(self._settings, violation.verb, subject)
                    future.set_exception(NotPermitted(why))
        now = time.monotonic()
        if now < self._refused_at.get(violation.about, float("-inf")) + LOG_EVERY:
            return
        self._refused_at[violation.about] = now
        why = why or refusal.not_permitted(self._settings, violation.verb, violation.subject)
        log.error("%s", why, extra={"code": NotPermitted.code})

    async def _on_disconnect(self) -> None:
        self._usable.clear()
        self._fail_pending("the connection to NATS broke before an answer came")

    async def _on_reconnected(self) -> None:
        log.info("connected to NATS again")
        self._last_error = ""
        self._usable.set()
        for callback in list(self._on_reconnect):
            callback()

    async def _on_closed(self, client: Client) -> None:
        if client is not self._client or self._closing:
            return
        self._usable.clear()
        self._fail_pending("the connection to NATS was closed before an answer came")
        if self._replacing is None or self._replacing.done():
            self._replacing = asyncio.create_task(self._replace(), name="bus: new connection")

    async def _replace(self) -> None:
        while self._client.is_closed:  # again, where the new one is closed before it is of use
            await self._connect()
            for subscribed in self._subscriptions:
                await self._attach(subscribed)
        await self._on_reconnected()

    # -- what the other modules use --------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self._name

    @property
    def connected(self) -> bool:
        return self._usable.is_set() and self._client.is_connected

    @property
    def max_payload(self) -> int:
        return self._client.max_payload

    def new_inbox(self) -> str:
        """A subject that nobody else uses, with what is below it."""
        return f"{self._settings.inbox}.{names.unique_id()}"

    def on_reconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back after every reconnection. Returns what ends that."""
        self._on_reconnect.append(callback)
        return lambda: self._on_reconnect.remove(callback)

    async def usable(self, timeout: float) -> None:
        """Wait for a connection. Raises BusUnavailable."""
        if self.connected:
            return
        try:
            async with asyncio.timeout(timeout):
                await self._usable.wait()
        except TimeoutError:
            raise BusUnavailable(
                f"NATS at {self._settings.shown} cannot be reached: check the server and BRIM_BUS__URL"
            ) from None

    async def subscribe(self, subject: str, callback: Callback, *, queue: str = "") -> Subscribed:
        """Callbacks of one subscription run one after the other; they must be short and must not raise.

        The limits of nats-py's buffer, beyond which it drops messages, are off: callers bound what is sent.
        """
        subscribed = Subscribed(subject, queue, callback)
        self._subscriptions.append(subscribed)
        await self._attach(subscribed)
        return subscribed

    async def flushed(self) -> None:
        """Wait until the server has taken in all that was sent, subscriptions too; for as long as it takes."""
        while True:
            if await self._flush(1.0):
                return
            await asyncio.sleep(0.1)  # a new connection brings the subscriptions along

    async def _flush(self, seconds: float) -> bool:
        """Whether the server confirms within so long.

        The client's own time-out must not strike, nor our cancellation reach it: either cancels a future that a PONG
        sets when it comes after all, and that ends the client's reading without a word.
        In a task of its own, too, because the client's PING overtakes what its flusher has not written yet: that one
        has its turn before.
        """
        flush = asyncio.create_task(self._client.flush(timeout=FLUSH_ENDS))
        self._flushes.add(flush)
        flush.add_done_callback(self._flushes.discard)
        flush.add_done_callback(_ended)
        done, _ = await asyncio.wait({flush}, timeout=seconds)
        return bool(done) and not flush.cancelled() and flush.exception() is None

    async def _attach(self, subscribed: Subscribed) -> None:
        try:
            subscribed.current = await self._client.subscribe(
                subscribed.subject,
                queue=subscribed.queue,
                cb=partial(_guarded, subscribed.callback),
                pending_msgs_limit=0,
                pending_bytes_limit=0,
            )
        except nats.errors.BadSubjectError:
            raise Permanent(f"{subscribed.subject!r} is no NATS subject") from None
        except nats.errors.Error:
            # Closed just now: the connection that replaces it attaches every subscription.
            subscribed.current = None

    async def unsubscribe(self, subscribed: Subscribed) -> None:
        if subscribed in self._subscriptions:
            self._subscriptions.remove(subscribed)
        if subscribed.current is None:
            return
        try:
            await subscribed.current.unsubscribe()
        except nats.errors.Error:
            log.debug("%s was unsubscribed on a connection that is gone", subscribed.subject)

    async def send(
        self, subject: str, payload: bytes, *, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Core NATS publish on a connection that is up. Raises BusUnavailable, TooLarge."""
        self._check_size(subject, payload, headers)
        try:
            await self._client.publish(subject, payload, reply=reply, headers=headers)
        except nats.errors.BadSubjectError:
            raise Permanent(f"{subject!r} is no NATS subject") from None
        except nats.errors.Error as error:
            raise BusUnavailable(f"{subject} could not be sent: {_words(error)}") from None

    def _check_size(self, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> None:
        """The server counts headers too, and cuts the connection where nats-py's own check lets them pass."""
        size = len(payload)
        if headers:
            size += HEADER_OVERHEAD + sum(len(key) + len(value.encode()) + 4 for key, value in headers.items())
        if size > self.max_payload:
            raise TooLarge(
                f"a message on {subject} has {size} bytes and NATS takes {self.max_payload}: "
                "make it smaller, or raise max_payload in the server's configuration"
            )

    async def ask(self, subject: str, payload: bytes, *, headers: dict[str, str] | None = None, timeout: float) -> Msg:
        """Send with a reply address, and wait for the answer. Raises BusUnavailable (NotPermitted at once), TooLarge.

        A status of 503 (nobody listens) is returned as it is: what it means differs.
        """
        if not self.connected:
            await self.usable(timeout)
        self._next += 1
        token = format(self._next, "x")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Msg] = loop.create_future()
        self._pending[token] = (subject, future)
        timer = loop.call_later(timeout, _expire, future, subject, timeout)
        try:
            await self.send(subject, payload, reply=f"{self._inbox}.{token}", headers=headers)
            return await future
        finally:
            timer.cancel()
            del self._pending[token]
            if future.done() and not future.cancelled():
                future.exception()  # seen, even where `send` raised first

    async def _on_reply(self, message: Msg) -> None:
        _, future = self._pending.get(message.subject.rpartition(".")[2], (None, None))
        if future is not None and not future.done():
            future.set_result(message)

    def _fail_pending(self, why: str) -> None:
        for _, future in self._pending.values():
            if not future.done():
                future.set_exception(BusUnavailable(why))


def status_of(message: Msg) -> str | None:
    """The status of a message that carries no data but says something: 404, 408, 409, 503, 100."""
    return None if message.data else (message.headers or NO_HEADERS).get(names.STATUS)


def _expire(future: asyncio.Future[Msg], subject: str, timeout: float) -> None:
    if not future.done():
        future.set_exception(BusUnavailable(f"{subject}: no answer within {timeout:g} s"))


async def _guarded(callback: Callback, message: Msg) -> None:
    """nats-py ends a subscription in silence when a CancelledError leaks from its callback."""
    try:
        await callback(message)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        log.error("a callback for %s was cancelled from inside; the subscription goes on", message.subject)


async def _close_quietly(client: Client) -> None:
    try:
        async with asyncio.timeout(1):
            await client.close()
    except (nats.errors.Error, OSError, TimeoutError) as error:
        log.debug("closing a connection that never was: %s", _words(error))


def _ended(flush: asyncio.Task[None]) -> None:
    if not flush.cancelled() and (error := flush.exception()) is not None:
        log.debug("NATS did not confirm a flush: %s", _words(error))


def _words(error: BaseException) -> str:
    return (str(error) or type(error).__name__).removeprefix("nats: ")
