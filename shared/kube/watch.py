"""The watch, as a ladder of small generators: follow for ever → list, or watch → lines → events.

A list gives the state, a watch from its version on the changes. When the member forgot the version (410), or does
not serve the resource (404), it is listed again; after any other failure the watch goes on from the last version
seen, after a pause that grows. Where several attempts in a row bring nothing at all, not even a bookmark, the version
itself is doubted and it is listed again: a server that was restored from a backup stays silent until it reaches the
version asked for.
"""

from __future__ import annotations

import random
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeAlias

import anyio
from pydantic import ValidationError

from shared.backoff import Backoff, Retries
from shared.errors import BrimError, NotFound, WatchExpired
from shared.kube import faults
from shared.kube.projection import Event as Line
from shared.kube.projection import ListOf, P, Projection
from shared.kube.resource import Resource
from shared.kube.transport import Transport

MAX_LINE = 2**24  # bytes of one event; etcd holds objects of 1.5 MiB
STEADY = 5.0  # seconds after which a watch counts as working, so that the pauses start small again
RETRY = Backoff(base=0.2, maximum=30.0)
RELIST_AFTER = 3  # attempts in a row that brought nothing, after which the version itself is doubted

TELLING = frozenset({"ADDED", "MODIFIED", "DELETED"})  # types of events about an object

_TYPE = re.compile(rb'^\{"type":"([A-Z]+)"')


@dataclass(frozen=True, slots=True)
class Synced(Generic[P]):
    """The whole state; it replaces all that was known."""

    items: tuple[P, ...]


@dataclass(frozen=True, slots=True)
class Changed(Generic[P]):
    """An object is new or different."""

    object: P


@dataclass(frozen=True, slots=True)
class Gone(Generic[P]):
    """An object was deleted, or left the selection; its last state."""

    object: P


@dataclass(frozen=True, slots=True)
class Connected:
    """The watch stands (again)."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """What is known grows old from now on, until Connected or Synced."""

    error: BrimError


Event: TypeAlias = Synced[P] | Changed[P] | Gone[P] | Connected | Disconnected


@dataclass(frozen=True, slots=True)
class Selection:
    """namespace: empty for all. labels, fields: selectors as kubectl takes them."""

    resource: Resource
    namespace: str = ""
    labels: str = ""
    fields: str = ""

    @property
    def path(self) -> str:
        return self.resource.path(self.namespace)

    @property
    def query(self) -> dict[str, str]:
        query = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {name: value for name, value in query.items() if value}


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """Real seconds. lasts: the server ends a watch after so long, and it is renewed. silence: without a byte for
    so long it is dead; API servers send a bookmark every minute. page: objects per page of a list."""

    lasts: float = 290.0
    silence: float = 90.0
    page: int = 500
    backoff: Backoff = RETRY


@dataclass(frozen=True, slots=True)
class ListPage(Generic[P]):
    """after: token of the next page, empty on the last. version: of the whole list."""

    items: tuple[P, ...]
    resource_version: str
    after: str = ""


class _Bookmark(Projection):
    class _Object(Projection):
        class _Metadata(Projection):
            resource_version: str = ""

        metadata: _Metadata = _Metadata()

    object: _Object = _Object()


class _Error(Projection):
    object: faults.Status = faults.Status()


class _Type(Projection):
    type: str


@dataclass(slots=True)
class _Progress:
    """How far a follow is. version: of the last thing seen, empty when it must be listed. barren: attempts in a row
    that brought nothing."""

    retries: Retries
    version: str = ""
    barren: int = 0

    def progressed(self, version: str) -> None:
        self.version = version or self.version
        self.barren = 0
        self.retries.succeeded()

    def doubt(self) -> None:
        if self.barren >= RELIST_AFTER:
            self.version = ""


async def follow(
    transport: Transport, selection: Selection, projection: type[P], options: WatchOptions
) -> AsyncGenerator[Event[P]]:
    """List and watch for ever. Never raises for the member's failures: they are `Disconnected` events."""
    progress = _Progress(Retries(options.backoff))
    while True:
        begun = anyio.current_time()
        progress.barren += 1
        try:
            async with aclosing(_once(transport, selection, projection, options, progress)) as events:
                async for event in events:
                    yield event
            pause = 0.0
        except WatchExpired:
            progress.version = ""
            pause = 0.0
        except BrimError as error:
            yield Disconnected(error)
            pause = getattr(error, "retry_after", None) or 0.0
            if isinstance(error, NotFound):
                progress.version = ""  # whoever took it for "none of them" must hear of those that are there
        progress.doubt()
        if anyio.current_time() - begun >= STEADY:
            progress.retries.succeeded()
        else:
            await anyio.sleep(max(pause, progress.retries.next_delay()))


async def _once(
    transport: Transport, selection: Selection, projection: type[P], options: WatchOptions, progress: _Progress
) -> AsyncGenerator[Event[P]]:
    """List where there is no version, then one watch until it ends."""
    if not progress.version:
        items: list[P] = []
        version = ""
        async for page in pages(transport, selection, projection, limit=options.page):
            items += page.items
            version = version or page.resource_version
        progress.version, progress.barren = version, 0
        yield Synced(tuple(items))
    async with aclosing(_lines(transport, selection, options, progress.version)) as lines:
        async for line in lines:
            if line is None:
                yield Connected()
            elif (event := _event(transport.member, selection, projection, line, progress)) is not None:
                yield event


async def pages(
    transport: Transport, selection: Selection, projection: type[P], *, limit: int, after: str = ""
) -> AsyncGenerator[ListPage[P]]:
    """The pages of a list, from the token `after` on. Raises WatchExpired when the member forgot the token."""
    form = ListOf[projection]  # type: ignore[valid-type]
    what = f"list {selection.resource}"
    while True:
        query = selection.query | {"limit": str(limit)} | ({"continue": after} if after else {})
        data = await transport.request(what, "GET", selection.path, query=query)
        try:
            answer = form.model_validate_json(data)
        except ValidationError as error:
            raise faults.unavailable(transport.member, what, _rubbish(error)) from error
        if not answer.metadata.resource_version:  # `{}` is valid JSON too, and must not mean "all is gone"
            raise faults.unavailable(transport.member, what, "the answer is no Kubernetes list")
        after = answer.metadata.continue_
        yield ListPage(answer.items or (), answer.metadata.resource_version, after)
        if not after:
            return


async def _lines(
    transport: Transport, selection: Selection, options: WatchOptions, version: str
) -> AsyncGenerator[bytes | None]:
    """None once the watch stands, then its lines as they come."""
    what = f"watch {selection.resource}"
    lasts = options.lasts * (0.9 + 0.2 * random.random())  # so that not all watches end at once
    query = selection.query | {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": version,
        "timeoutSeconds": str(max(1, int(lasts))),
    }
    rest = b""
    async with transport.stream(what, selection.path, query, silence=options.silence) as content:
        yield None
        async for chunk in content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    yield line
            if len(rest) > MAX_LINE:
                raise faults.unavailable(transport.member, what, f"an event is longer than {MAX_LINE} bytes")
        if rest.strip():
            raise faults.unavailable(transport.member, what, "the answer ends in the middle of an event")


def _event(
    member: str, selection: Selection, projection: type[P], line: bytes, progress: _Progress
) -> Changed[P] | Gone[P] | None:
    """What a line tells. Raises what an ERROR line means, MemberUnavailable for what is no event at all."""
    what = f"watch {selection.resource}"
    try:
        match = _TYPE.match(line)
        kind = match.group(1).decode() if match else _Type.model_validate_json(line).type
        if kind == "BOOKMARK":
            progress.progressed(_Bookmark.model_validate_json(line).object.metadata.resource_version)
            return None
        if kind == "ERROR":
            told = _Error.model_validate_json(line).object
            raise faults.error_of_status(member, what, told.code or 500, told)
        if kind not in TELLING:
            raise faults.unavailable(member, what, f"an event of type {kind[:40]!r} is none of Kubernetes'")
        found: P = Line[projection].model_validate_json(line).object  # type: ignore[valid-type]
    except ValidationError as error:
        raise faults.unavailable(member, what, _rubbish(error)) from error
    progress.progressed(found.metadata.resource_version)
    return Gone(found) if kind == "DELETED" else Changed(found)


def _rubbish(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"the answer is not what Kubernetes answers ({where + ': ' if where else ''}{first['msg']})"
