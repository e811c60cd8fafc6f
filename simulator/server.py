"""One member's API server: HTTP in front of the reader and the registry."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from shared.clock import Clock
from simulator import discovery, eviction, fields, leases, objects, openapi, reviews, statuses, subresources
from simulator.faults import Faults
from simulator.objects import Object
from simulator.reading import Reader, raw
from simulator.registry import APPLY_PATCH, JSON_PATCH, Registry
from simulator.request import Call, Place, place_of
from simulator.resources import Catalogue
from simulator.statuses import ApiError
from simulator.store import Store
from simulator.versions import present

MAX_BODY = 3 * 1024 * 1024  # bytes, as etcd's and the API server's own limit


@dataclass(frozen=True, slots=True)
class Address:
    """Where an API server listens. host: an address of this machine. name: under which clients find it. port: 0 is any
    free one."""

    host: str = "127.0.0.1"
    name: str = "127.0.0.1"
    port: int = 0


class ApiServer:
    """Serves one store. `start`, `stop`; `pause` makes it unreachable, `resume` undoes that."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        registry: Registry,
        clock: Clock,
        token: str,
        version: str,
        address: Address,
    ) -> None:
        self.faults = Faults()
        self.token = token
        self.port = 0
        self._address = address
        self._clock = clock
        self._catalogue = catalogue
        self._registry = registry
        self._reader = Reader(store, catalogue, clock)
        self._version = version
        self._server: web.Server | None = None
        self._listener: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where a client that sends the bearer token finds the API."""
        return f"http://{self._address.name}:{self.port}"

    @property
    def private_url(self) -> str:
        """The same with the token as a path: client-go sends no credentials over plain HTTP."""
        return f"{self.url}/{self.token}"

    async def start(self, port: int = 0) -> None:
        """Listen. Raises OSError when a fixed port is taken."""
        self._server = web.Server(self._handle, access_log=None, handler_cancellation=True)  # type: ignore[arg-type]
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._server, self._address.host, port, backlog=1024)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        listener, server = self._listener, self._server
        self._listener = self._server = None
        if listener is not None:
            listener.close()
        if server is not None:
            server.pre_shutdown()
            for connection in server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
            await server.shutdown(timeout=0.1)
        if listener is not None:
            await listener.wait_closed()

    async def pause(self) -> None:
        """Become unreachable: connections are refused, open ones cut. The cluster behind it lives on."""
        await self.stop()

    async def resume(self) -> None:
        """Listen again on the same port."""
        if self._listener is None:
            await self.start(self.port)

    # -- requests

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            struck = await self.faults.strike(request, request.path_qs.removeprefix(f"/{self.token}"))
            return struck if struck is not None else await self._route(request)
        except ApiError as error:
            headers = {"Retry-After": str(error.retry_after)} if error.retry_after else None
            body = objects.encode(error.body)
            return web.Response(body=body, status=error.http_status, headers=headers, content_type="application/json")

    async def _route(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix(f"/{self.token}")
        if path in ("/healthz", "/readyz", "/livez"):
            return web.Response(text="ok")
        if path == request.path and request.headers.get("Authorization") != f"Bearer {self.token}":
            raise ApiError(401, "Unauthorized", "Unauthorized")
        place = place_of(path, self._catalogue)
        if place is not None:
            if place.resource.kind == "Lease" and place.namespace == leases.NAMESPACE:
                leases.renew(self._registry.store, self._clock.now())
            return await self._resource(request, place)
        if path.startswith("/api/v1/namespaces/") and path.endswith("/bindings") and request.method == "POST":
            body = await _json(request)
            name = (body.get("metadata") or {}).get("name") or ""
            return self._bind(path.split("/")[4], name, body, request)
        match [part for part in path.split("/") if part]:
            case ["apis", group, version, plural] if request.method == "POST":
                reviewed = reviews.answer(group, version, plural)
                if reviewed is not None:
                    return raw(objects.encode(reviewed), 201)
        return self._discovery(request, path)

    def _discovery(self, request: web.Request, path: str) -> web.Response:
        parts = [part for part in path.split("/") if part]
        catalogue = self._catalogue
        found: Object | None = None
        match parts:
            case ["version"]:
                found = discovery.server_version(self._version)
            case ["api"]:
                found = discovery.core_versions(request.host)
            case ["apis"]:
                found = discovery.groups(catalogue)
            case ["apis", group]:
                found = discovery.group(catalogue, group)
            case ["api", version]:
                found = discovery.resources(catalogue, "", version)
            case ["apis", group, version]:
                found = discovery.resources(catalogue, group, version)
            case ["openapi", "v2"]:
                if "protobuf" in request.headers.get("Accept", "") and "json" not in request.headers["Accept"]:
                    body = openapi.v2_protobuf(self._version)
                    return web.Response(body=body, headers={"Content-Type": openapi.V2_PROTOBUF})
                found = openapi.v2(self._version)
            case ["openapi", "v3"]:
                prefix = request.path.removesuffix(path)
                found = openapi.v3_root(catalogue, prefix)
            case ["openapi", "v3", "api", version]:
                return self._openapi("", version)
            case ["openapi", "v3", "apis", group, version]:
                return self._openapi(group, version)
        if found is not None:
            return raw(objects.encode(found))
        match parts:
            case ["api", *_]:
                raise statuses.no_such_path()
            case ["apis", group, *_] if discovery.group(catalogue, group) is not None:
                raise statuses.no_such_path()
        return web.Response(text="404 page not found\n", status=404)  # nobody is there who would answer with a Status

    def _openapi(self, group: str, version: str) -> web.Response:
        document = openapi.v3(self._catalogue, group, version)
        if document is None:
            raise statuses.no_such_path()
        return raw(document)

    async def _resource(self, request: web.Request, place: Place) -> web.StreamResponse:
        body = b""
        if request.method in ("POST", "PUT", "PATCH", "DELETE"):
            body = await request.content.read(-1)
            if len(body) > MAX_BODY:
                raise ApiError(413, "RequestEntityTooLarge", f"limit is {MAX_BODY}")
        call = Call(
            request.method,
            place.resource,
            place.namespace,
            place.name,
            place.subresource,
            request.query,
            request.headers.get("Accept", ""),
            request.headers.get("Content-Type", "").partition(";")[0].strip(),
            request.headers.get("User-Agent", ""),
            body,
        )
        if place.subresource:
            return await self._subresource(call, request)
        match request.method, bool(place.name):
            case "GET", named:
                if place.watch or call.flag("watch"):
                    return await self._reader.watch(call, request)
                return self._reader.get(call) if named else self._reader.collection(call)
            case "POST", False:
                document, warnings = fields.admitted(call.resource, call.document(), call.strictness)
                obj = self._registry.create(call.resource, call.namespace, document, call.write())
                return _warned(self._show(call, obj, 201), warnings)
            case "PUT", True:
                document, warnings = fields.admitted(call.resource, call.document(), call.strictness)
                obj = self._registry.replace(call.resource, call.namespace, call.name, document, call.write())
                return _warned(self._show(call, obj), warnings)
            case "PATCH", True:
                return self._patch(call)
            case "DELETE", True:
                return self._delete(call)
            case "DELETE", False:
                return self._delete_collection(call)
        raise statuses.not_allowed()

    def _show(self, call: Call, obj: Object, status: int = 200) -> web.Response:
        return raw(objects.encode(present(call.resource, obj)), status)

    def _patch(self, call: Call) -> web.Response:
        document, warnings = self._patch_document(call)
        obj, created = self._registry.patch(
            call.resource,
            call.namespace,
            call.name,
            document,
            call.content_type,
            call.write(call.subresource),
        )
        return _warned(self._show(call, obj, 201 if created else 200), warnings)

    def _patch_document(self, call: Call) -> tuple[Any, list[str]]:
        """A JSON patch names places and no fields; it is taken as it is."""
        document = call.document()
        if call.content_type == APPLY_PATCH:
            fields.applied(call.resource, document, f"{call.namespace}/{call.name}")
        elif call.content_type != JSON_PATCH:
            return fields.admitted(call.resource, document, call.strictness)
        return document, []

    def _delete(self, call: Call) -> web.Response:
        options = call.deletion(call.document() if call.body else None)
        obj, gone = self._registry.delete(call.resource, call.namespace, call.name, options)
        if gone and call.resource.kind != "Pod":
            return raw(objects.encode(statuses.success(call.resource, call.name, objects.uid(obj))))
        return self._show(call, obj)

    def _delete_collection(self, call: Call) -> web.Response:
        options = call.deletion(call.document() if call.body else None)
        deleted = []
        for record in self._reader.select(self._reader.query(call)):
            space, name = objects.namespace(record.object), objects.name(record.object)
            deleted.append(self._registry.delete(call.resource, space, name, options)[0])
        return raw(
            objects.encode(
                {
                    "kind": f"{call.resource.kind}List",
                    "apiVersion": call.resource.group_version,
                    "metadata": {},
                    "items": [present(call.resource, obj) for obj in deleted],
                }
            )
        )

    async def _subresource(self, call: Call, request: web.Request) -> web.StreamResponse:
        resource, registry = call.resource, self._registry
        match call.subresource, call.method:
            case "status", "GET" if resource.status:
                return self._reader.get(call)
            case "status", "PUT" if resource.status:
                write = call.write("status")
                return self._show(call, registry.replace(resource, call.namespace, call.name, call.document(), write))
            case "status", "PATCH" if resource.status:
                return self._patch(call)
            case "scale", "GET" if resource.scale:
                live = registry.get(resource, call.namespace, call.name)
                return raw(objects.encode(subresources.scale_of(resource, live)))
            case "scale", ("PUT" | "PATCH") if resource.scale:
                return raw(objects.encode(subresources.write_scale(registry, call)))
            case "finalize", "PUT" if resource.kind == "Namespace":
                return self._finalize(call)
        if resource.shelf == "pods":
            match call.subresource, call.method:
                case "binding", "POST":
                    return self._bind(call.namespace, call.name, call.document(), request)
                case "eviction", "POST":
                    body = eviction.evict(registry, call.namespace, call.name, call.document())
                    return raw(objects.encode(body), 201)
                case "log", "GET":
                    return await subresources.log(registry, self._clock, call, request)
                case (("exec" | "attach" | "portforward" | "proxy"), _):
                    registry.get(resource, call.namespace, call.name)
                    raise statuses.not_allowed("the containers of simulated pods run nothing that could be spoken to")
        raise statuses.no_such_path()

    def _bind(self, space: str, name: str, body: Any, request: web.Request) -> web.Response:
        manager = request.headers.get("User-Agent", "").partition("/")[0] or "unknown"
        return raw(objects.encode(subresources.bind(self._registry, space, name, body, manager)), 201)

    def _finalize(self, call: Call) -> web.Response:
        """PUT namespaces/<name>/finalize: the one way to change a namespace's own finalizers."""
        live = self._registry.get(call.resource, "", call.name)
        wanted = (call.document().get("spec") or {}).get("finalizers") or []
        new = objects.with_spec(live, finalizers=wanted)
        return self._show(call, self._registry.store.update("namespaces", new))


def _warned(response: web.Response, warnings: list[str]) -> web.Response:
    for warning in warnings:
        escaped = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{escaped}"')
    return response


async def _json(request: web.Request) -> Any:
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise statuses.bad_request(f"the object provided is unrecognized: {error}") from error
    if not isinstance(body, dict):
        raise statuses.bad_request("the object provided is unrecognized (must be of type Object)")
    return body
