"""Bad input, end to end: a clear error, nothing lost, nothing half done."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cli.services import SERVICES
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.outcome import Rejected
from shared.contracts.submit import Answer, Scale
from shared.errors import TooLarge
from shared.settings import ExecutorSettings, Settings
from simulator.faults import Faults
from tests.e2e.harness import Play, playing, reference, web


def changed(manifest: JsonObject, path: str, value: object) -> JsonObject:
    """A copy with one field set; path: dotted, numbers are places in lists."""
    whole = copy.deepcopy(manifest)
    at: object = whole
    *above, last = path.split(".")
    for step in above:
        at = at[int(step)] if isinstance(at, list) else at[step]  # type: ignore[index]
    at[last] = value  # type: ignore[index]
    return whole


DEPLOYMENT, POLICY = web("bad")
AFFINITIES = [{"affinityName": "idc", "clusterNames": ["idc"]}]
CONTAINER = "spec.template.spec.containers.0.resources"

BAD: dict[str, tuple[str, tuple[str, ...]]] = {
    "not YAML": ("kind: [unclosed", ("line 1", "malformed YAML")),
    "not JSON": ('{"kind": "Deployment", ', ("line 1", "malformed JSON")),
    "only text": ("hello", ("document 1", "not an object")),
    "two affinity forms": (
        json.dumps(changed(POLICY, "spec.placement.clusterAffinities", AFFINITIES)),
        ("clusterAffinit", "PropagationPolicy default/bad"),
    ),
    "a negative request": (
        json.dumps(changed(DEPLOYMENT, CONTAINER, {"requests": {"cpu": "-1"}})),
        ("requests", "Deployment default/bad"),
    ),
    "an absurd request": (
        json.dumps(changed(DEPLOYMENT, CONTAINER, {"requests": {"cpu": "a lot"}})),
        ("requests", "Deployment default/bad"),
    ),
    "a request beyond all numbers": (
        json.dumps(changed(DEPLOYMENT, CONTAINER, {"requests": {"memory": "9999999999999E"}})),
        ("requests",),
    ),
    "too many replicas": (
        json.dumps(changed(DEPLOYMENT, "spec.replicas", 1_000_001)),
        ("replicas", "1,000,000"),
    ),
    "negative replicas": (json.dumps(changed(DEPLOYMENT, "spec.replicas", -1)), ("replicas",)),
    "a name that is no DNS name": (json.dumps(changed(DEPLOYMENT, "metadata.name", "Bad_Name")), ("Bad_Name", "DNS")),
    "a namespace that is no DNS label": (
        json.dumps(changed(DEPLOYMENT, "metadata.namespace", "a.b")),
        ("namespace", "DNS"),
    ),
    "a field that brim does not implement": (
        json.dumps(changed(POLICY, "spec.customSchedulingType", "Gang")),
        ("customSchedulingType",),
    ),
    "a field that does not exist": (json.dumps(changed(POLICY, "spec.placment", {})), ("placment",)),
    "one good and one bad": (
        json.dumps([DEPLOYMENT, changed(POLICY, "spec.resourceSelectors", [])]),
        ("resourceSelectors",),
    ),
}


async def desired_names(play: Play) -> list[str]:
    messages = await play.bus.history("DESIRED", "brim.desired.>")
    return [message.subject for message in messages if "bad" in message.subject.lower()]


async def test_what_is_wrong_is_said_field_by_field_and_nothing_is_accepted(tmp_path: Path) -> None:
    """By request, and by a publish that needs no answer: REJECTED then says the same."""
    async with playing(tmp_path, "hybrid.yaml") as play:
        for name, (text, words) in BAD.items():
            answer = Answer.decode(await play.bus.request(subjects.APPLY, text.encode(), timeout=10.0))
            assert answer.faults, f"{name} was accepted"
            assert answer.accepted == (), name
            told = " ".join(f"{fault.object} {fault.field} {fault.message}" for fault in answer.faults)
            for word in words:
                assert word in told, f"{name}: {told}"
            assert await desired_names(play) == [], name

        for text, _ in BAD.values():
            await play.bus.publish(subjects.submit("apply"), text.encode())
        await play.bus.publish(subjects.submit("apply"), b"\xff\xfe\x00 no text at all")
        await play.bus.publish(subjects.submit("scale"), b'{"replicas": "many"}')
        await play.bus.publish(subjects.submit("no-such-verb"), b"{}")
        refused = await rejected(play, len(BAD) + 3)
        assert all(entry.faults for entry in refused)
        assert await desired_names(play) == []

        # and all the while good input is taken
        await play.submit(*web("good", replicas=2))
        await play.eventually(lambda: play.ready("default", "good") == 2)


RUBBISH = (b"", b"\x00\xff", b"{}", b"[]", b'{"ref": 1}', b"kind: [")
ODD_HEADERS = {"traceparent": "no trace", "ce-type": "\u00e4?", "ce-id": ""}


async def test_broken_envelopes_stop_nobody(tmp_path: Path) -> None:
    """Rubbish on every stream, before and while the services work; of what asks for something REJECTED tells."""
    async with playing(tmp_path, "hybrid.yaml") as play:
        target = reference("broken")
        streams = [
            subjects.desired(target),
            subjects.placement(target),
            subjects.status("idc", target),
            subjects.outcome("idc", target),
            subjects.capacity("idc"),
            subjects.capacity("nowhere"),
            subjects.rebalance(target),
        ]
        for subject in streams:
            for payload in RUBBISH:
                await play.bus.publish(subject, payload, headers=ODD_HEADERS)
        await play.submit(*web("before"))
        await play.eventually(lambda: play.ready("default", "before") == 4)
        refused = await rejected(play, len(RUBBISH))
        assert {entry.subject for entry in refused} == {subjects.rebalance(target)}
        for service in SERVICES:
            await play.restart(service)
        await play.stage.brim.ready()
        await play.submit(*web("after"))
        await play.eventually(lambda: play.ready("default", "after") == 4)
        assert play.ready("default", "before") == 4


async def test_requests_that_nobody_can_mean_are_answered(tmp_path: Path) -> None:
    async with playing(tmp_path, "hybrid.yaml") as play:
        await play.submit(*web("web"))
        await play.eventually(lambda: play.ready("default", "web") == 4)
        ref = json.loads(Scale(ref=reference("web"), replicas=1).encode())["ref"]
        for replicas in (-1, 1_000_001, 1.5, "four", None):
            request = json.dumps({"ref": ref, "replicas": replicas}).encode()
            answer = Answer.decode(await play.bus.request(subjects.SCALE, request))
            assert [fault.field for fault in answer.faults] == ["replicas"], replicas
        unknown = Scale(ref=reference("unknown"), replicas=1).encode()
        answer = Answer.decode(await play.bus.request(subjects.SCALE, unknown))
        assert [fault.code for fault in answer.faults] == ["NotFound"]
        for subject in (subjects.APPLY, subjects.SCALE, subjects.DELETE, subjects.CORDON):
            for payload in RUBBISH:
                assert Answer.decode(await play.bus.request(subject, payload)).faults, (subject, payload)
        assert sum(play.asked(reference("web")).values()) == 4


async def rejected(play: Play, count: int) -> list[Rejected]:
    found: list[Rejected] = []

    async def all_there() -> bool:
        messages = await play.bus.history("REJECTED", "brim.rejected.>")
        found[:] = [Rejected.decode(message.data) for message in messages]
        return len(found) >= count

    for _ in range(100):
        if await all_there():
            return found
        await play.stage.clock.sleep(3)
    pytest.fail(f"only {len(found)} of {count} were rejected: {[entry.faults for entry in found]}")


async def test_accepted_but_worth_a_word(tmp_path: Path) -> None:
    """A policy that selects nothing, and one that names a member nobody knows, may be right tomorrow."""
    async with playing(tmp_path, "hybrid.yaml") as play:
        _, policy = web("nobody")
        answer = await play.submit(policy)
        assert answer.faults == ()
        assert "matches no object" in " ".join(answer.accepted[0].warnings)
        unknown = await play.submit(*web("lost", members=("idc", "nowhere")))
        assert "nowhere" in " ".join(text for entry in unknown.accepted for text in entry.warnings)
        await play.eventually(lambda: play.ready("default", "lost", "idc") == 4)


async def test_a_manifest_over_the_servers_limit(tmp_path: Path) -> None:
    async with playing(tmp_path, "hybrid.yaml") as play:
        huge: JsonObject = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "bad", "namespace": "default"},
            "data": {"blob": "x" * play.bus.max_payload},
        }
        with pytest.raises(TooLarge):
            await play.submit(huge)
        nearly = changed(huge, "data.blob", "x" * (play.bus.max_payload - 2000))
        answer = await play.submit(nearly)
        assert [fault.code for fault in answer.faults] == ["TooLarge"]
        assert await desired_names(play) == []
        await play.submit(*web("good", replicas=2))
        await play.eventually(lambda: play.ready("default", "good") == 2)


WRITES = "/deployments"

Trouble = Callable[[Faults], object]

TROUBLES: dict[str, Trouble] = {
    "409": lambda faults: faults.answer(409, method="PATCH", path=WRITES, times=3),
    "410": lambda faults: faults.answer(410, path="watch", times=3),
    "429": lambda faults: faults.answer(429, path=WRITES, times=3, retry_after=1),
    "500": lambda faults: faults.answer(500, path=WRITES, times=3),
    "503 for all": lambda faults: faults.answer(503, times=5),
    "rubbish": lambda faults: faults.rubbish(path=WRITES, times=3),
    "cut off": lambda faults: faults.reset(path=WRITES, times=3),
}


@asynccontextmanager
async def trouble(play: Play, member: str, begin: Trouble) -> AsyncIterator[None]:
    faults = play.stage.brim.members[member].faults
    begin(faults)
    try:
        yield
    finally:
        faults.clear()


async def test_a_member_in_trouble_is_served_when_it_recovers(tmp_path: Path) -> None:
    async with playing(tmp_path, "hybrid.yaml") as play:
        for number, (name, begin) in enumerate(TROUBLES.items()):
            app = f"web-{number}"
            async with trouble(play, "idc", begin):
                await play.submit(*web(app))
                await play.eventually(
                    lambda app=app: play.ready("default", app) == 4,  # type: ignore[misc]
                    what=f"4 replicas after {name}",
                )
            assert sum(play.asked(reference(app)).values()) == 4, name


def refuses(faults: Faults) -> object:
    return faults.answer(403, method="PATCH", path=WRITES)


async def test_a_member_that_refuses_is_told_to_people(tmp_path: Path) -> None:
    """A refusal lasts until a person acts: the outcome says so, in the member's words; the others go on."""
    async with playing(tmp_path, "hybrid.yaml") as play, trouble(play, "idc", refuses):
        await play.submit(*web("web"))
        await play.eventually(lambda: play.ready("default", "web", "ack") > 0)
        subject = subjects.outcome("idc", reference("web"))
        for _ in range(100):
            outcome = await play.bus.last("OUTCOME", subject)
            if outcome is not None and b'"failed"' in outcome.data:
                break
            await play.stage.clock.sleep(3)
        else:
            pytest.fail(f"no failed outcome: {outcome}")
        assert b"fault was injected" in outcome.data
        assert "idc" not in play.asked(reference("web"))


async def test_a_member_that_hangs_does_not_hold_up_the_others(tmp_path: Path) -> None:
    settings = Settings(executor=ExecutorSettings(request_timeout=1.5))
    async with playing(tmp_path, "hybrid.yaml", settings=settings) as play:
        async with trouble(play, "idc", lambda faults: faults.hang(method="PATCH", path=WRITES)):
            await play.submit(*web("first"), *web("second", replicas=2, members=("ack",)))
            await play.eventually(lambda: play.ready("default", "second", "ack") == 2)
            await play.eventually(lambda: play.ready("default", "first", "ack") > 0)
        await play.eventually(lambda: play.ready("default", "first") == 4)
