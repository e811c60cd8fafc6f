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
from kubernetes_asyncio.client import ApiClient

from shared.errors import BrimError
from shared.kube import faults
from shared.kube.credentials import Credentials

Method: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Query: TypeAlias = Mapping[str, str]

JSON = "application/json"
USER_AGENT = "brim"
BUFFER = 2**21  # bytes: one watch event may be as large as etcd's largest object, 1.5 MiB


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Real seconds. connect: until the connection stands. read: until all of the answer is there."""

    connect: float = 5.0
    read: float = 30.0


class Transport:
    """One member's API. `what` says for error messages what a request is about ("list pods")."""

    def __init__(self, member: str, credentials: Credentials, api: ApiClient, timeouts: Timeouts) -> None:
        self.member = member
        self._credentials = credentials
        self._timeouts = timeouts
        self._host = str(credentials.configuration.host)
        self._server_hostname: str | None = credentials.configuration.tls_server_name or None
        self._proxy: str | None = credentials.configuration.proxy or None
        self._session = aiohttp.ClientSession(
            connector=api.rest_client.pool_manager.connector,
            connector_owner=False,
            trust_env=not _is_loopback(self._host),
            read_bufsize=BUFFER,
            headers={"User-Agent": USER_AGENT},
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, member: str, credentials: Credentials, timeouts: Timeouts) -> AsyncIterator[Transport]:
        """kubernetes-asyncio builds the TLS context and the connections; requests are our own, for their bytes."""
        async with ApiClient(credentials.configuration) as api:
            transport = cls(member, credentials, api, timeouts)
            try:
                yield transport
            finally:
                await transport._session.close()

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
        limits = aiohttp.ClientTimeout(total=timeout or self._timeouts.read, sock_connect=self._timeouts.connect)
        data = None if body is None else json.dumps(body).encode()
        async with self._answer(what, method, path, query, data, content_type, accept, limits) as response:
            return await response.read()

    @asynccontextmanager
    async def stream(
        self, what: str, path: str, query: Query, *, silence: float
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """An answer without an end. silence: seconds without a byte after which MemberUnavailable is raised."""
        limits = aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect, sock_read=silence)
        async with self._answer(what, "GET", path, query, None, JSON, JSON, limits) as response:
            yield response.content

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
                headers = {"Accept": accept}
                if data is not None:
                    headers["Content-Type"] = content_type
                if authorization is not None:
                    headers["Authorization"] = authorization
                async with self._session.request(
                    method,
                    self._host + path,
                    params=query,
                    data=data,
                    headers=headers,
                    timeout=limits,
                    proxy=self._proxy,
                    server_hostname=self._server_hostname,
                    allow_redirects=False,
                ) as response:
                    if 200 <= response.status < 300:
                        yield response
                        return
                    if response.status == 401 and await self._credentials.rejected(authorization):
                        continue
                    raise await self._error(what, response)
        except TimeoutError as error:
            raise faults.unavailable(self.member, what, "no answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            told = " ".join(str(error).split()) or type(error).__name__
            raise faults.unavailable(self.member, what, told) from error

    async def _error(self, what: str, response: aiohttp.ClientResponse) -> BrimError:
        return faults.error_of(self.member, what, response.status, await response.read(), response.headers)


def _is_loopback(url: str) -> bool:
    """As Go's clients do: a proxy from the environment is never asked for this machine itself."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
