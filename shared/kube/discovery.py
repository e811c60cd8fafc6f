"""Discovery: which resource serves a kind in this member."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from pydantic import ValidationError

from shared.errors import NotFound, Refused
from shared.kube import faults
from shared.kube.projection import Projection
from shared.kube.resource import Resource, group_path
from shared.kube.transport import Transport

AGAIN = 5.0  # seconds for which "this member does not know the kind" is believed


class _ApiResource(Projection):
    name: str
    kind: str
    namespaced: bool = False


class _ApiResourceList(Projection):
    kind: Literal["APIResourceList"]
    resources: tuple[_ApiResource, ...] = ()


class Discovery:
    """The resources per group and version, read when first asked for and again on a miss."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._known: dict[tuple[str, str], tuple[float, tuple[Resource, ...]]] = {}

    async def of_kind(self, group: str, version: str, kind: str) -> Resource:
        """Raises Refused with code NoKindMatch where the member does not serve the kind, MemberUnavailable."""
        return await self._find(group, version, kind, lambda resource: resource.kind == kind)

    async def of_plural(self, group: str, version: str, plural: str) -> Resource:
        """As `of_kind`, by the name in URLs."""
        return await self._find(group, version, plural, lambda resource: resource.plural == plural)

    async def _find(self, group: str, version: str, wanted: str, fits: Callable[[Resource], bool]) -> Resource:
        read_at, resources = self._known.get((group, version), (float("-inf"), ()))
        found = next(filter(fits, resources), None)
        if found is None and time.monotonic() - read_at >= AGAIN:
            resources = await self._read(group, version)
            self._known[(group, version)] = (time.monotonic(), resources)
            found = next(filter(fits, resources), None)
        if found is None:
            raise Refused(
                f"member {self._transport.member} serves no {wanted} in {group_path(group, version)}: "
                "install its CustomResourceDefinition there, or correct the apiVersion",
                code="NoKindMatch",
            )
        return found

    async def _read(self, group: str, version: str) -> tuple[Resource, ...]:
        path = group_path(group, version)
        what = f"discover {path}"
        try:
            answer = _ApiResourceList.model_validate_json(await self._transport.request(what, "GET", path))
        except NotFound:
            return ()
        except ValidationError as error:
            raise faults.unavailable(self._transport.member, what, "the answer is no APIResourceList") from error
        return tuple(
            Resource(group, version, entry.kind, entry.name, entry.namespaced)
            for entry in answer.resources
            if "/" not in entry.name
        )
