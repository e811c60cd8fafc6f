"""brim.read.<member>: what people see of a member. Pods, nodes, pools and instances come from the caches, the rest, and
whole objects, events and logs, from the member itself. Secrets are not read: whoever may use the bus must not
see what only the members' administrators may."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import TypeVar

from pydantic import JsonValue

from services.inventory import instances
from services.inventory.core import selectors
from services.inventory.metrics import InventoryMetrics
from services.inventory.mirror import INSTANCES, Mirror
from services.inventory.projections import Managed
from shared.bus import Message
from shared.clock import rfc3339
from shared.contracts.base import JsonObject
from shared.contracts.read import Read, ReadAnswer
from shared.contracts.refs import ObjectRef
from shared.errors import MemberUnavailable, NotFound, Refused
from shared.kube import EVENTS, KubeObject, MemberClient, Resource

HEADROOM = 16 * 1024  # bytes of an answer for all but its items
POOL_API_VERSION = "brim.dev/v1alpha1"
INSTANCE_API_VERSION = f"{instances.KIND.group}/{instances.KIND.version}"

K = TypeVar("K", bound=KubeObject)


class _Whole(KubeObject):
    """An object of which every field is passed on."""

    model_config = KubeObject.model_config | {"extra": "allow"}


class Reader:
    """client: the member's client while there is one. max_payload: bytes that one answer may take."""

    def __init__(
        self,
        mirror: Mirror,
        client: Callable[[], MemberClient | None],
        max_payload: int,
        metrics: InventoryMetrics,
    ) -> None:
        self._mirror = mirror
        self._client = client
        self._room = max_payload - HEADROOM
        self._metrics = metrics

    async def answer(self, message: Message) -> bytes:
        """Raises Invalid (the question), MemberUnavailable, NotFound, Refused."""
        read = Read.decode(message.data)
        self._metrics.reads.add(member=self._mirror.member, verb=read.verb)
        self._must_be_reachable()
        _must_not_be_secret(read)
        match read.verb:
            case "list":
                answer = await self._list(read)
            case "object":
                answer = ReadAnswer(items=(await self._object(read),))
            case "events":
                answer = await self._events(read)
            case "logs":
                answer = ReadAnswer(text=await self._logs(read))
        return answer.model_copy(update={"synced_at": self._mirror.reachable_at}).encode()

    def _must_be_reachable(self) -> None:
        mirror = self._mirror
        if mirror.trouble is not None or not mirror.has_room:
            since = f"since {rfc3339(mirror.reachable_at)}" if mirror.reachable_at else "since inventory runs"
            why = f": {mirror.trouble}" if mirror.trouble is not None else ": its first lists are being read"
            raise MemberUnavailable(f"member {mirror.member} has not answered {since}{why}")

    def _connected(self) -> MemberClient:
        client = self._client()
        if client is None:
            raise MemberUnavailable(f"member {self._mirror.member} is not connected")
        return client

    # -- lists -----------------------------------------------------------------------------------------------

    async def _list(self, read: Read) -> ReadAnswer:
        match read.resource, read.group:
            case "pods", "":
                return self._page(read, self._mirror.pods.items, "v1", "Pod")
            case "nodes", "":
                return self._page(read, self._mirror.nodes.items, "v1", "Node")
            case instances.PLURAL, instances.KIND.group if INSTANCES in self._mirror.synced:
                return self._page(read, self._mirror.instances.cache.items, INSTANCE_API_VERSION, instances.KIND.kind)
            case "pools", _:
                return ReadAnswer(items=tuple(self._pools()))
            case _:
                return await self._list_live(read)

    def _page(self, read: Read, items: Mapping[tuple[str, str], KubeObject], api_version: str, kind: str) -> ReadAnswer:
        wanted = selectors.parse(read.selector)
        keys = sorted(key for key in items if _is_meant(read, key))
        if read.after:
            namespace, _, name = read.after.partition("/")
            keys = keys[bisect.bisect_right(keys, (namespace, name)) :]
        fitting = (items[key] for key in keys if all(one.fits(items[key].metadata.labels) for one in wanted))
        shown = (("/".join(item.key), {"apiVersion": api_version, "kind": kind, **_dump(item)}) for item in fitting)
        return _fill(shown, read.limit, self._room)

    def _pools(self) -> Iterator[JsonObject]:
        for pool in self._mirror.pools:
            spec: JsonValue = pool.model_dump(mode="json", by_alias=True, exclude_none=True)
            assert isinstance(spec, dict)
            yield {
                "apiVersion": POOL_API_VERSION,
                "kind": "NodePool",
                "metadata": {"name": pool.id},
                "spec": {**spec, "headroom": pool.headroom},
            }

    async def _list_live(self, read: Read) -> ReadAnswer:
        """As many as fit into one answer; `after` is the member's own token."""
        client = self._connected()
        resource = await client.resource_named(read.group, read.version, read.resource)
        if read.name:
            return ReadAnswer(items=(await self._object(read),))
        return await self._live_page(client, resource, Managed, read)

    async def _live_page(
        self, client: MemberClient, resource: Resource, projection: type[K], read: Read, fields: str = ""
    ) -> ReadAnswer:
        """One page from the member, asked for again at half its length while it does not fit into an answer."""
        limit = read.limit
        while True:
            pages = client.list_pages(
                resource,
                projection,
                namespace=read.namespace,
                selector=read.selector,
                fields=fields,
                limit=limit,
                after=read.after,
            )
            async with aclosing(pages):
                page = await anext(pages)
            answer = ReadAnswer(items=tuple(_typed(resource, item) for item in page.items), after=page.after)
            if limit == 1 or len(answer.encode()) <= self._room:
                return answer
            limit //= 2

    # -- passed through --------------------------------------------------------------------------------------

    async def _object(self, read: Read) -> JsonObject:
        client = self._connected()
        resource = await client.resource_named(read.group, read.version, read.resource)
        ref = ObjectRef(
            group=read.group, version=read.version, kind=resource.kind, namespace=read.namespace, name=read.name
        )
        try:
            return await client.get(ref)
        except NotFound:
            what = f"{resource} {read.name!r}" + (f" in namespace {read.namespace}" if read.namespace else "")
            raise NotFound(f"member {self._mirror.member} has no {what}") from None

    async def _events(self, read: Read) -> ReadAnswer:
        fields = f"involvedObject.name={read.name}" if read.name else ""
        return await self._live_page(self._connected(), EVENTS, _Whole, read, fields)

    async def _logs(self, read: Read) -> str:
        """The end of the log, as much as fits."""
        text = await self._connected().logs(read.namespace, read.name, container=read.container, tail=read.tail)
        return text.encode()[-self._room // 2 :].decode("utf-8", errors="replace")


def _must_not_be_secret(read: Read) -> None:
    if read.group == "" and read.resource == "secrets":
        raise Refused("secrets are not passed on: read them with kubectl in the member itself", code="SecretsNotRead")


def _is_meant(read: Read, key: tuple[str, str]) -> bool:
    return (not read.namespace or key[0] in ("", read.namespace)) and (not read.name or key[1] == read.name)


def _fill(items: Iterable[tuple[str, JsonObject]], limit: int, room: int) -> ReadAnswer:
    """Items up to the limit and the room in bytes; `after` is the last one's key where more follow."""
    taken: list[JsonObject] = []
    size, last = 0, ""
    for key, item in items:
        size += len(ReadAnswer(items=(item,)).encode())
        if taken and (len(taken) >= limit or size > room):
            return ReadAnswer(items=tuple(taken), after=last)
        taken.append(item)
        last = key
    return ReadAnswer(items=tuple(taken))


def _typed(resource: Resource, item: KubeObject) -> JsonObject:
    version = f"{resource.group}/{resource.version}" if resource.group else resource.version
    return {"apiVersion": version, "kind": resource.kind, **_dump(item)}


def _dump(item: KubeObject) -> JsonObject:
    """As Kubernetes wrote it: only fields that it set."""
    dumped: JsonObject = item.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return dumped
