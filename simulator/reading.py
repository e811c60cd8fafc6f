"""get, list and watch over HTTP."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from dataclasses import dataclass

from aiohttp import web

from shared.clock import Clock
from simulator import objects, selectors, statuses
from simulator.objects import Object
from simulator.request import Call
from simulator.resources import Catalogue, Resource
from simulator.selectors import LabelSelector
from simulator.store import Change, Record, Store
from simulator.tables import Form, form_of, partial, table
from simulator.versions import present

BOOKMARK_EVERY = 60.0  # real seconds
WATCH_LASTS = 1800.0  # real seconds, when the client names no timeout


@dataclass(frozen=True, slots=True)
class Query:
    """What a list or watch selects."""

    resource: Resource
    namespace: str
    labels: LabelSelector
    fields: list[tuple[str, str, bool]]

    def matches(self, obj: Object) -> bool:
        if self.namespace and objects.namespace(obj) != self.namespace:
            return False
        if self.labels.requirements and not self.labels.matches(objects.labels(obj)):
            return False
        return not self.fields or selectors.fields_match(obj, self.fields)


class Reader:
    """Reads of one member's store."""

    def __init__(self, store: Store, catalogue: Catalogue, clock: Clock) -> None:
        self._store = store
        self._catalogue = catalogue
        self._clock = clock

    def get(self, call: Call) -> web.Response:
        resource = call.resource
        record = self._store.record(resource.shelf, call.namespace, call.name)
        if record is None:
            raise statuses.not_found(resource, call.name)
        form = form_of(call.accept, call.query.get("includeObject", ""))
        if form.kind == "object" and present(resource, record.object) is record.object:
            return raw(record.encoded)
        return raw(objects.encode(self._shown(resource, record.object, form)))

    def _shown(self, resource: Resource, obj: Object, form: Form, header: bool = True) -> Object:
        shown = present(resource, obj)
        if form.kind == "table":
            metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            return table(resource, [shown], form, self._clock.now(), metadata, header)
        return partial(shown) if form.kind == "metadata" else shown

    def query(self, call: Call) -> Query:
        """The selectors of a call. Raises ApiError 400 for what cannot be parsed."""
        try:
            labels = selectors.parse_labels(call.query.get("labelSelector", ""))
            fields = selectors.parse_fields(call.query.get("fieldSelector", ""), call.resource.shelf)
        except ValueError as error:
            raise statuses.bad_request(str(error)) from error
        if call.name:
            fields.append(("metadata.name", call.name, True))
        return Query(call.resource, call.namespace, labels, fields)

    def select(self, query: Query) -> list[Record]:
        """Records that match, in the API's order: by namespace, then name."""
        names = [value for path, value, wanted in query.fields if path == "metadata.name" and wanted]
        if names and (query.namespace or not query.resource.namespaced):
            one = self._store.record(query.resource.shelf, query.namespace, names[0])
            return [one] if one is not None and query.matches(one.object) else []
        every = self._store.records(query.resource.shelf, query.namespace)
        found = [record for record in every if query.matches(record.object)]
        found.sort(key=lambda r: (r.object["metadata"].get("namespace") or "", r.object["metadata"]["name"]))
        return found

    # -- list

    def collection(self, call: Call) -> web.Response:
        query = self.query(call)
        records = self.select(query)
        metadata: Object = {"resourceVersion": str(self._store.version)}
        records, more = self._page(call, records)
        metadata |= more
        form = form_of(call.accept, call.query.get("includeObject", ""))
        if form.kind == "table":
            rows = [present(call.resource, record.object) for record in records]
            return raw(objects.encode(table(call.resource, rows, form, self._clock.now(), metadata)))
        items = [self._encoded(call.resource, record, form) for record in records]
        kind, version = f"{call.resource.kind}List", call.resource.group_version
        if form.kind == "metadata":
            kind, version = "PartialObjectMetadataList", "meta.k8s.io/v1"
        head = objects.encode({"kind": kind, "apiVersion": version, "metadata": metadata})
        return raw(head[:-1] + b',"items":[' + b",".join(items) + b"]}")

    def _encoded(self, resource: Resource, record: Record, form: Form) -> bytes:
        if form.kind == "object" and present(resource, record.object) is record.object:
            return record.encoded
        return objects.encode(self._shown(resource, record.object, form))

    def _page(self, call: Call, records: list[Record]) -> tuple[list[Record], Object]:
        """limit/continue: the token holds the key after which to go on."""
        if token := call.query.get("continue"):
            try:
                after = json.loads(base64.urlsafe_b64decode(token))
                key = (after["ns"], after["name"])
            except (ValueError, KeyError, TypeError, binascii.Error) as error:
                raise statuses.bad_request("continue key is not valid") from error
            records = [r for r in records if (objects.namespace(r.object), objects.name(r.object)) > key]
        limit = call.number("limit")
        if not limit or len(records) <= limit:
            return records, {}
        last = records[limit - 1].object
        position = objects.encode({"ns": objects.namespace(last), "name": objects.name(last)})
        rest = {"remainingItemCount": len(records) - limit}
        return records[:limit], {"continue": base64.urlsafe_b64encode(position).decode(), **rest}

    # -- watch

    async def watch(self, call: Call, request: web.Request) -> web.StreamResponse:
        query = self.query(call)
        if call.flag("sendInitialEvents"):
            raise statuses.ApiError(
                422,
                "Invalid",
                'ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is '
                "forbidden for watch unless the WatchList feature gate is enabled",
            )
        form = form_of(call.accept, call.query.get("includeObject", ""))
        log = self._store.log(call.resource.shelf)
        version, initial = self._start(call, query)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        if version < log.oldest:
            await response.prepare(request)
            await response.write(_gone(version, log.oldest))
            return response
        waker = asyncio.Event()
        log.wakers.add(waker)
        try:
            await response.prepare(request)
            if initial:
                lines = [_line("ADDED", self._encoded(query.resource, r, form)) for r in initial]
                await response.write(b"".join(lines))
            async with asyncio.timeout(call.number("timeoutSeconds") or WATCH_LASTS):
                await self._follow(call, query, form, response, version, waker)
        except (TimeoutError, ConnectionResetError):
            return response
        finally:
            log.wakers.discard(waker)
        return response

    def _start(self, call: Call, query: Query) -> tuple[int, list[Record]]:
        """From which version to follow, and what exists already for a watch without a version."""
        text = call.query.get("resourceVersion", "")
        if text in ("", "0"):
            return self._store.version, self.select(query)
        try:
            return int(text), []
        except ValueError as error:
            raise statuses.bad_request(f"Invalid value: {text!r}: resourceVersion is no number") from error

    async def _follow(
        self,
        call: Call,
        query: Query,
        form: Form,
        response: web.StreamResponse,
        version: int,
        waker: asyncio.Event,
    ) -> None:
        log = self._store.log(call.resource.shelf)
        bookmarks = call.flag("allowWatchBookmarks")
        while True:
            waker.clear()
            changes = log.since(version)
            if not changes:
                try:
                    async with asyncio.timeout(BOOKMARK_EVERY):
                        await waker.wait()
                except TimeoutError:
                    version = self._store.version
                    if bookmarks:
                        await response.write(_bookmark(call.resource, version, form))
                continue
            if version < log.oldest:
                await response.write(_gone(version, log.oldest))
                return
            lines = [line for change in changes if (line := self._event(query, form, change))]
            if lines:
                await response.write(b"".join(lines))
            version = changes[-1].record.version

    def _event(self, query: Query, form: Form, change: Change) -> bytes | None:
        """A change as this watch sees it: one that leaves the selection is a DELETED."""
        if (
            query.resource.custom
            and self._catalogue.find(query.resource.group, query.resource.version, query.resource.plural) is None
        ):
            return None
        now_in = change.type != "DELETED" and query.matches(change.object)
        was_in = change.previous is not None and query.matches(change.previous)
        if now_in:
            kind = "MODIFIED" if was_in else "ADDED"
        elif was_in:
            kind = "DELETED"
        else:
            return None
        return _line(kind, self._encoded(query.resource, change.record, form))


def _line(kind: str, encoded: bytes) -> bytes:
    return b'{"type":"' + kind.encode() + b'","object":' + encoded + b"}\n"


def _gone(version: int, oldest: int) -> bytes:
    error = statuses.expired(f"too old resource version: {version} ({oldest})")
    return _line("ERROR", objects.encode(error.body))


def _bookmark(resource: Resource, version: int, form: Form) -> bytes:
    obj: Object = {
        "kind": resource.kind,
        "apiVersion": resource.group_version,
        "metadata": {"resourceVersion": str(version), "creationTimestamp": None},
    }
    if form.kind == "table":
        obj = {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": {"resourceVersion": str(version)},
            "columnDefinitions": None,
            "rows": [{"cells": [], "object": partial(obj)}],
        }
    return _line("BOOKMARK", objects.encode(obj))


def raw(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")
