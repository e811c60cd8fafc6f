"""HTTP to one member: requests with timeouts, answers as bytes, every failure as one of brim's errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import aiohttp
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.client.rest import RESTClientObject

from shared.errors import BrimError, Misconfigured
from shared.kube import faults
from shared.kube.credentials import Credentials

Method: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Query: TypeAlias = Mapping[str, str]

JSON = "application/json"
USER_AGENT = "brim"  # whom a member's audit log names, where nobody says better
BUFFER = 2**21  # bytes: one watch event may be as large as etcd's largest object, 1.5 MiB
ERROR_BODY = 2**20  # bytes of an answer that is an error; the rest is not read
ANY_NUMBER = 0  # of connections: each watch holds one, and whoever asks bounds the rest


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Real seconds. connect: until the connection stands, its name looked up and its certificates exchanged.
    read: until all of the answer is there."""

    connect: float = 5.0
    read: float = 30.0


class _Connections:
    """Connections made with one state of the credentials. They close once nobody uses them any more."""

    def __init__(self, configuration: Configuration, generation: int, agent: str) -> None:
        """Raises OSError (ssl.SSLError) and ValueError for certificates that are none."""
        self.generation = generation
        self.host = str(configuration.host)
        self.server_hostname: str | None = configuration.tls_server_name or None
        self.proxy: str | None = configuration.proxy or None
        self._rest = RESTClientObject(configuration, maxsize=ANY_NUMBER)
        self.session = aiohttp.ClientSession(
            connector=self._rest.pool_manager.connector,
            connector_owner=False,
            trust_env=not _is_loopback(self.host),
            read_bufsize=BUFFER,
            headers={"User-Agent": agent},
        )
        self._users = 0
        self._retired = False

    @asynccontextmanager
    async def used(self) -> AsyncIterator[None]:
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if self._retired:
                await self.retire()

    async def retire(self) -> None:
        self._retired = True
        if not self._users:
            await self.close()

    async def close(self) -> None:
        await self.session.close()
        await self._rest.close()


class Transport:
    """One member's API. `what` says for error messages what a request is about ("list pods")."""

    def __init__(self, member: str, credentials: Credentials, timeouts: Timeouts, agent: str) -> None:
        self.member = member
        self._agent = agent
        self._credentials = credentials
        self._timeouts = timeouts
        self._connections = self._open()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, member: str, credentials: Credentials, timeouts: Timeouts, agent: str = USER_AGENT
    ) -> AsyncIterator[Transport]:
        """kubernetes-asyncio builds the TLS context and the connections; requests are our own, for their bytes.

        Raises Misconfigured for certificates that cannot be used.
        """
        transport = cls(member, credentials, timeouts, agent)
        try:
            yield transport
        finally:
            await transport._connections.close()

    def _open(self) -> _Connections:
        try:
            return _Connections(self._credentials.configuration, self._credentials.generation, self._agent)
        except (OSError, ValueError) as error:
            raise Misconfigured(f"{self._credentials.where}: its certificates cannot be used: {error}") from error

    async def _current(self) -> _Connections:
        """New ones where the kubeconfig names another address or other certificates by now."""
        if self._connections.generation != self._credentials.generation:
            before, self._connections = self._connections, self._open()
            await before.retire()
        return self._connections

    async def request(
        self,
        what: str,
        method: Method,
        path: str,
        *,
        query: Query | None = None,
        body: object = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout: float | None = None,
    ) -> bytes:
        """The body of a 2xx answer. timeout: seconds for all of it, `Timeouts.read` when absent. Raises
        NotFound, Refused, WriteConflict, WatchExpired, MemberUnavailable."""
        limits = self._limits(total=timeout or self._timeouts.read)
        data = None if body is None else json.dumps(body).encode()
        async with self._answer(what, method, path, query, data, content_type, accept, limits) as response:
            return await response.read()

    @asynccontextmanager
    async def stream(
        self, what: str, path: str, query: Query, *, silence: float
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """An answer without an end. silence: seconds without a byte after which MemberUnavailable is raised."""
        limits = self._limits(silence=silence)
        async with self._answer(what, "GET", path, query, None, JSON, JSON, limits) as response:
            try:
                yield response.content
            finally:
                # Left in the middle. TLS would wait for the member to agree that it ends, half a minute if need be, and
                # the connection would outlive its client.
                if response.connection is not None and response.connection.transport is not None:
                    response.connection.transport.abort()

    def _limits(self, *, total: float | None = None, silence: float | None = None) -> aiohttp.ClientTimeout:
        connect = self._timeouts.connect
        return aiohttp.ClientTimeout(total=total, connect=connect, sock_connect=connect, sock_read=silence)

    @asynccontextmanager
    async def _answer(
        self,
        what: str,
        method: Method,
        path: str,
        query: Query | None,
        data: bytes | None,
        content_type: str,
        accept: str,
        limits: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A 2xx answer. What goes wrong inside the block, while it is read, is translated too."""
        try:
            while True:
                authorization = await self._credentials.header()
                connections = await self._current()
                headers = {"Accept": accept}
                if data is not None:
                    headers["Content-Type"] = content_type
                if authorization is not None:
                    headers["Authorization"] = authorization
                async with (
                    connections.used(),
                    connections.session.request(
                        method,
                        connections.host + path,
                        params=query,
                        data=data,
                        headers=headers,
                        timeout=limits,
                        proxy=connections.proxy,
                        server_hostname=connections.server_hostname,
                        allow_redirects=False,
                    ) as response,
                ):
                    if 200 <= response.status < 300:
                        yield response
                        return
                    generation = connections.generation
                    if response.status == 401 and await self._credentials.rejected(authorization, generation):
                        continue
                    raise await self._error(what, response)
        except TimeoutError as error:
            raise faults.unavailable(self.member, what, "no answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, aiohttp.ClientSSLError):
                await self._credentials.doubted()
            told = " ".join(str(error).split()) or type(error).__name__
            raise faults.unavailable(self.member, what, told) from error

    async def _error(self, what: str, response: aiohttp.ClientResponse) -> BrimError:
        body = b""
        while len(body) < ERROR_BODY and (chunk := await response.content.read(ERROR_BODY - len(body))):
            body += chunk
        return faults.error_of(self.member, what, response.status, body, response.headers)


def _is_loopback(url: str) -> bool:
    """As Go's clients do: a proxy from the environment is never asked for this machine itself."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
