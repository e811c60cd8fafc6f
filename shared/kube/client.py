"""`MemberClient`: all that brim does with one member's Kubernetes API.

Every request has timeouts, and every failure is one of brim's errors (`shared.kube.faults`): NotFound, Refused,
WriteConflict, WatchExpired, MemberUnavailable.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import ConfigDict, TypeAdapter, ValidationError

from shared.contracts.base import JsonObject
from shared.contracts.refs import ObjectRef
from shared.errors import BrimError, NotFound
from shared.fleet import Kubeconfig
from shared.kube import credentials, faults, watch
from shared.kube.credentials import Credentials, Source
from shared.kube.discovery import Discovery
from shared.kube.projection import P
from shared.kube.resource import PODS, Resource
from shared.kube.transport import JSON, USER_AGENT, Method, Timeouts, Transport

Propagation: TypeAlias = Literal["Background", "Foreground", "Orphan"]

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

DEFAULT_TIMEOUTS = Timeouts()
DEFAULT_OPTIONS = watch.WatchOptions()

SECRET = ("", "Secret")  # (group, kind)

_OBJECT: TypeAdapter[JsonObject] = TypeAdapter(JsonObject, config=ConfigDict(hide_input_in_errors=True))


class MemberClient:
    """One member. Cheap to share: any number of requests may be in flight."""

    def __init__(self, transport: Transport, options: watch.WatchOptions) -> None:
        self._transport = transport
        self._options = options
        self._discovery = Discovery(transport)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        *,
        member: str,
        context: str,
        kubeconfig: Path | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        options: watch.WatchOptions = DEFAULT_OPTIONS,
    ) -> AsyncIterator[MemberClient]:
        """Read the context's credentials; no request is sent to the member yet.

        kubeconfig: None reads KUBECONFIG, else ~/.kube/config. Raises Misconfigured (no such file or context),
        MemberUnavailable (its credential plugin failed).
        """
        source = credentials.context_of(context, kubeconfig)
        async with cls._connected(member, source, timeouts, options) as client:
            yield client

    @classmethod
    @asynccontextmanager
    async def reach(
        cls,
        member: str,
        by: Kubeconfig,
        default: Path | None,
        *,
        agent: str,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        options: watch.WatchOptions = DEFAULT_OPTIONS,
    ) -> AsyncIterator[MemberClient]:
        """As `connect`, as a member's manifest says. default: the kubeconfig of the settings, where it names none.
        agent: whom the member's audit log names."""
        async with cls._connected(member, credentials.source_of(by, default), timeouts, options, agent) as client:
            yield client

    @classmethod
    @asynccontextmanager
    async def _connected(
        cls, member: str, source: Source, timeouts: Timeouts, options: watch.WatchOptions, agent: str = USER_AGENT
    ) -> AsyncIterator[MemberClient]:
        loaded = await Credentials.load(member, source)
        with closing(loaded):
            async with Transport.open(member, loaded, timeouts, agent) as transport:
                yield cls(transport, options)

    @property
    def member(self) -> str:
        return self._transport.member

    # -- what there is ---------------------------------------------------------------------------------------

    async def resource_of(self, group: str, version: str, kind: str) -> Resource:
        """The resource that serves a kind; cached. Raises Refused(NoKindMatch), MemberUnavailable."""
        return await self._discovery.of_kind(group, version, kind)

    async def resource_named(self, group: str, version: str, plural: str) -> Resource:
        """As `resource_of`, by plural name."""
        return await self._discovery.of_plural(group, version, plural)

    async def ping(self, *, timeout: float | None = None) -> str:
        """The member's version ("v1.34.1"). Raises MemberUnavailable where it does not answer."""
        what = "read /version"
        version = self._parse(what, await self.get_bytes("/version", timeout=timeout)).get("gitVersion")
        if not isinstance(version, str):
            raise faults.unavailable(self.member, what, "the answer names no version: no Kubernetes API answers here")
        return version

    # -- reading ---------------------------------------------------------------------------------------------

    async def get(self, ref: ObjectRef) -> JsonObject:
        """The whole object. Raises NotFound, and Refused(NoKindMatch) for an unknown kind."""
        return await self._call(f"get {ref}", "GET", ref)

    async def get_bytes(
        self, path: str, query: Mapping[str, str] | None = None, *, accept: str = JSON, timeout: float | None = None
    ) -> bytes:
        """The answer to a GET of any path, untouched."""
        return await self._transport.request(f"read {path}", "GET", path, query=query, accept=accept, timeout=timeout)

    def list_pages(
        self,
        resource: Resource,
        projection: type[P],
        *,
        namespace: str = "",
        selector: str = "",
        fields: str = "",
        limit: int = 500,
        after: str = "",
    ) -> AsyncGenerator[watch.ListPage[P]]:
        """The pages of a list. Raises WatchExpired where the token `after` is too old."""
        selection = watch.Selection(resource, namespace, selector, fields)
        return watch.pages(self._transport, selection, projection, limit=limit, after=after)

    def watch(
        self,
        resource: Resource,
        projection: type[P],
        *,
        namespace: str = "",
        selector: str = "",
        fields: str = "",
    ) -> AsyncGenerator[watch.Event[P]]:
        """List, then watch, for ever; failures come as `Disconnected`. Wrap it in `contextlib.aclosing`."""
        selection = watch.Selection(resource, namespace, selector, fields)
        return watch.follow(self._transport, selection, projection, self._options)

    async def logs(self, namespace: str, name: str, *, container: str = "", tail: int = 100) -> str:
        """The last `tail` lines of a container's log; of the pod's only container where none is named."""
        query = {"tailLines": str(tail)} | ({"container": container} if container else {})
        path = PODS.path(namespace, name, "log")
        data = await self._transport.request(f"logs of pod {namespace}/{name}", "GET", path, query=query, accept="*/*")
        return data.decode("utf-8", errors="replace")

    # -- writing ---------------------------------------------------------------------------------------------

    async def apply(
        self, manifest: JsonObject, *, manager: str, force: bool = False, subresource: str = ""
    ) -> JsonObject:
        """Server-side apply: `manager` comes to own just the fields in the manifest; returns the object.

        Raises WriteConflict(FieldManagerConflict) with `managers` where others own them and force is False.
        """
        ref = ObjectRef.of(manifest)
        query = {"fieldManager": manager} | ({"force": "true"} if force else {})
        return await self._call(f"apply {ref}", "PATCH", ref, query, manifest, APPLY, subresource)

    async def create(self, manifest: JsonObject, *, manager: str = "brim") -> JsonObject:
        """POST a new object. Raises WriteConflict(AlreadyExists)."""
        ref = ObjectRef.of(manifest)
        resource = await self.resource_of(ref.group, ref.version, ref.kind)
        what = f"create {ref}"
        path = resource.path(ref.namespace)
        with self._discreet(ref, what):
            data = await self._transport.request(what, "POST", path, query={"fieldManager": manager}, body=manifest)
        return self._object(what, data)

    async def post(self, ref: ObjectRef, subresource: str, body: JsonObject) -> JsonObject:
        """POST to a subresource, such as a pod's `binding` or `eviction`."""
        return await self._call(f"{subresource} of {ref}", "POST", ref, None, body, JSON, subresource, done=True)

    async def merge_patch(
        self, ref: ObjectRef, body: JsonObject, *, subresource: str = "", manager: str = "brim"
    ) -> JsonObject:
        """JSON merge patch: null removes a field. Raises NotFound."""
        return await self._call(f"patch {ref}", "PATCH", ref, {"fieldManager": manager}, body, MERGE, subresource)

    async def strategic_patch(
        self, ref: ObjectRef, body: JsonObject, *, subresource: str = "", manager: str = "brim"
    ) -> JsonObject:
        """Strategic merge patch: lists such as a status' conditions are merged by their key. Raises NotFound.

        With metadata.uid in it, WriteConflict where another object has the name.
        """
        return await self._call(f"patch {ref}", "PATCH", ref, {"fieldManager": manager}, body, STRATEGIC, subresource)

    async def delete(
        self,
        ref: ObjectRef,
        *,
        uid: str | None = None,
        version: str | None = None,
        propagation: Propagation = "Background",
    ) -> bool:
        """False if it was not there. uid, version: delete only this one, only as it was at this resourceVersion;
        raises WriteConflict where another has its name, or somebody wrote it since."""
        options: JsonObject = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        conditions: JsonObject = {"uid": uid, "resourceVersion": version}
        if any(conditions.values()):
            options["preconditions"] = {name: value for name, value in conditions.items() if value is not None}
        try:
            await self._call(f"delete {ref}", "DELETE", ref, None, options, done=True)
        except NotFound:
            return False
        return True

    # -- inside ----------------------------------------------------------------------------------------------

    async def _call(
        self,
        what: str,
        method: Method,
        ref: ObjectRef,
        query: Mapping[str, str] | None = None,
        body: JsonObject | None = None,
        content_type: str = JSON,
        subresource: str = "",
        *,
        done: bool = False,
    ) -> JsonObject:
        """The object that it answers with. done: a Status of success will do."""
        resource = await self.resource_of(ref.group, ref.version, ref.kind)
        path = resource.path(ref.namespace, ref.name, subresource)
        with self._discreet(ref, what):
            data = await self._transport.request(what, method, path, query=query, body=body, content_type=content_type)
        return self._object(what, data, done=done)

    def _object(self, what: str, data: bytes, *, done: bool = False) -> JsonObject:
        """What has no identity is no object: taken for one it would be somebody else's, or deleted."""
        answer = self._parse(what, data)
        metadata = answer.get("metadata")
        if isinstance(metadata, dict) and isinstance(metadata.get("uid"), str):
            return answer
        if done and (answer.get("kind"), answer.get("status")) == ("Status", "Success"):
            return answer
        raise faults.unavailable(self.member, what, "the answer is no Kubernetes object")

    @contextmanager
    def _discreet(self, ref: ObjectRef, what: str) -> Iterator[None]:
        try:
            yield
        except BrimError as error:
            if (ref.group, ref.kind) != SECRET:
                raise
            raise faults.withheld(error, self.member, what) from None

    def _parse(self, what: str, data: bytes) -> JsonObject:
        try:
            return _OBJECT.validate_json(data)
        except ValidationError as error:
            raise faults.unavailable(self.member, what, "the answer is no JSON object") from error
