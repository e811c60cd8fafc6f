"""Keys that something has to be done about."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Flags(Generic[K]):
    """A set of keys in the order in which they were first raised, and a way to wait for the first."""

    def __init__(self) -> None:
        self._keys: dict[K, None] = {}
        self._any = asyncio.Event()

    def raise_(self, key: K) -> None:
        self._keys[key] = None
        self._any.set()

    async def wait(self) -> None:
        await self._any.wait()

    def take(self) -> list[K]:
        keys = list(self._keys)
        self._keys.clear()
        self._any.clear()
        return keys
