"""The manifest that a share names: the one in DESIRED, or an older revision of it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from shared.bus import Bus, View
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.desired import Desired, Revision
from shared.contracts.placement import Placement, Share
from shared.errors import Retryable

KEPT = 512  # decoded messages; a burst of placements asks for each of its manifests once per member

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The values used last, at most so many."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: K, value: V) -> V:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._size:
            self._values.popitem(last=False)
        return value


class Manifests:
    """desired: a view of all of DESIRED."""

    def __init__(self, bus: Bus, desired: View) -> None:
        self._bus = bus
        self._desired = desired
        self._decoded: Recent[tuple[str, int], Desired] = Recent(KEPT)
        self._revisions: Recent[tuple[str, int], JsonObject] = Recent(KEPT)

    async def of(self, placement: Placement, share: Share) -> JsonObject | None:
        """The manifest at the share's revision; None where the object is to go.

        Raises Retryable where the streams do not show it yet; BusUnavailable; Invalid.
        """
        if not share.present:
            return None
        desired = self._current(placement)
        if desired.generation < placement.generation:  # what has no template keeps its revision when it changes
            raise Retryable(f"{placement.ref}: generation {placement.generation} was not seen yet", code="Behind")
        if desired.revision == share.revision:
            return desired.manifest
        return await self._older(placement, share.revision)

    def _current(self, placement: Placement) -> Desired:
        message = self._desired.get(subjects.desired(placement.ref))
        if message is None:
            raise Retryable(f"{placement.ref}: its manifest was not seen yet", code="Behind")
        key = (message.subject, message.sequence)
        desired = self._decoded.get(key) or self._decoded.put(key, Desired.decode(message.data))
        if desired.uid != placement.uid:
            raise Retryable(
                f"{placement.ref} was deleted and submitted again: a new placement will come", code="Behind"
            )
        return desired

    async def _older(self, placement: Placement, number: int) -> JsonObject:
        known = self._revisions.get((placement.uid, number))
        if known is not None:
            return known
        message = await self._bus.last("REVISION", subjects.revision(placement.uid, number))
        if message is None or message.removed:
            raise Retryable(f"{placement.ref}: revision {number} of its template was not seen yet", code="Behind")
        return self._revisions.put((placement.uid, number), Revision.decode(message.data).manifest)
