"""Keeps one member's policy for pods that ask for ECI as the fleet wants it: there, or not."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from math import inf

import anyio

from services.executor.core import admission
from services.executor.core.verdicts import verdict
from services.executor.outcomes import Outcomes
from shared.backoff import Backoff, Retries
from shared.clock import Clock
from shared.contracts.base import JsonObject
from shared.contracts.cluster import ClusterManifest, cluster_ref
from shared.contracts.desired import Desired
from shared.contracts.outcome import Outcome, Result
from shared.contracts.refs import ObjectRef
from shared.errors import BrimError, NotFound, Refused, WriteConflict
from shared.kube import MemberClient

log = logging.getLogger("brim.executor")

MANAGER = "brim"
SOON = Backoff(base=0.5, maximum=30.0)
IN_FORCE = "pods that ask for ECI by label go to brim's scheduler"
NO_KIND = "NoKindMatch"


@dataclass(frozen=True, slots=True)
class _Wish:
    """on: whether the member's manifest asks for the policy (`eciLabel`)."""

    desired: Desired
    on: bool


class Admission:
    """What became of it stands in OUTCOME, under the member's own manifest. There it is remembered too: a policy that
    brim never put in force is not looked for. resync: real seconds between two looks."""

    def __init__(self, member: str, outcomes: Outcomes, clock: Clock, resync: float) -> None:
        self._member = member
        self._ref = cluster_ref(member)
        self._outcomes = outcomes
        self._clock = clock
        self._resync = resync
        self._wish: _Wish | None = None
        self._changed = anyio.Event()

    def want(self, desired: Desired | None) -> None:
        """The member's manifest from now on; None: it is no member, and is left as it is. Raises Invalid."""
        if desired is None:
            self._wish = None
            self._outcomes.forget(self._member, self._ref)
        else:
            self._wish = _Wish(desired, ClusterManifest.read(desired.manifest).spec.eci_label)
        self._changed.set()

    async def keep(self, client: MemberClient) -> None:
        """Make it so and look again, until cancelled."""
        retries = Retries(SOON)
        while True:
            self._changed = anyio.Event()
            pause = await self._try(client, retries)
            with anyio.move_on_after(pause):
                await self._changed.wait()

    async def _try(self, client: MemberClient, retries: Retries) -> float:
        """Returns the seconds until the next look."""
        wish = self._wish
        if wish is None or not (wish.on or self._outcomes.last(self._member, self._ref)):
            return inf
        try:
            if wish.on:
                await _put(client)
                self._say(wish, "applied", "", IN_FORCE)
            else:
                await _take_away(client)
                self._outcomes.forget(self._member, self._ref)
        except BrimError as error:
            return self._failed(wish, error, retries)
        retries.succeeded()
        return self._resync

    def _failed(self, wish: _Wish, error: BrimError, retries: Retries) -> float:
        found = verdict(error)
        message = admission.not_served(self._member) if error.code == NO_KIND else found.message
        if (found.result, found.code) != ("retrying", "MemberUnavailable"):
            log.warning("member %s: %s", self._member, message)
        self._say(wish, found.result, found.code, message)
        if found.pace == "slow":
            return self._resync
        return found.retry_after or retries.next_delay()

    def _say(self, wish: _Wish, result: Result, code: str, message: str) -> None:
        desired = wish.desired
        if self._wish is not wish:
            return  # a newer one waits for its own turn
        outcome = Outcome(
            member=self._member,
            ref=self._ref,
            uid=desired.uid,
            order=desired.order,
            result=result,
            code=code,
            message=message,
            at=self._clock.now(),
        )
        self._outcomes.say(outcome, {})


async def _put(client: MemberClient) -> None:
    """The policy first: a binding without one is a fault that the member would report."""
    version = await _version(client)
    for manifest in (admission.policy(version), admission.binding(version)):
        live = await _live(client, ObjectRef.of(manifest))
        if live is not None and not admission.is_own(live):
            what = f"{admission.ref(str(manifest['kind']), version)} in member {client.member}"
            raise WriteConflict(f"{what} is somebody else's: rename or delete it", code="FieldManagerConflict")
        await client.apply(manifest, manager=MANAGER)


async def _take_away(client: MemberClient) -> None:
    try:
        version = await _version(client)
    except Refused as error:
        if error.code == NO_KIND:
            return  # what it does not serve it does not hold
        raise
    for kind in (admission.BINDING, admission.POLICY):
        live = await _live(client, admission.ref(kind, version))
        if live is not None and admission.is_own(live):
            await client.delete(admission.ref(kind, version))


async def _version(client: MemberClient) -> str:
    """The newest that the member serves. Raises Refused(NoKindMatch)."""
    for version in admission.VERSIONS[:-1]:
        try:
            await client.resource_of(admission.GROUP, version, admission.POLICY)
        except Refused as error:
            if error.code != NO_KIND:
                raise
        else:
            return version
    await client.resource_of(admission.GROUP, admission.VERSIONS[-1], admission.POLICY)
    return admission.VERSIONS[-1]


async def _live(client: MemberClient, ref: ObjectRef) -> JsonObject | None:
    try:
        return await client.get(ref)
    except NotFound:
        return None
