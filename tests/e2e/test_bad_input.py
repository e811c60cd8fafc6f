"""Bad input, end to end: a clear error, nothing lost, nothing half done."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cli.demo.observer import names
from cli.services import SERVICES
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.cluster import cluster_ref
from shared.contracts.outcome import Rejected
from shared.contracts.refs import ObjectRef
from shared.contracts.submit import Answer, Cordon, Scale
from shared.errors import TooLarge
from shared.settings import ExecutorSettings, Settings
from simulator.faults import Fault, Faults
from tests.conftest import Eventually
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
    "a key given twice": ('{"apiVersion": "v1", "kind": "A", "kind": "B"}', ("kind", "twice")),
    "a number without end": (
        json.dumps(changed(DEPLOYMENT, "spec.replicas", 7)).replace(" 7,", f" {'9' * 5000},"),
        ("number", "too long"),
    ),
    "a Job of too many": (
        json.dumps(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": "bad", "namespace": "default"},
                "spec": {
                    "parallelism": 1_000_001,
                    "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}},
                },
            }
        ),
        ("parallelism", "1,000,000"),
    ),
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


def places(ref: ObjectRef) -> list[str]:
    """Where anything about an object may lie."""
    return [
        subjects.desired(ref),
        subjects.placement(ref),
        *(subjects.status(member, ref) for member in ("idc", "ack")),
        *(subjects.outcome(member, ref) for member in ("idc", "ack")),
        *(subjects.desired(cluster_ref(member)) for member in ("idc", "ack")),
    ]


ODD_PLACES = [
    *(subjects.capacity(member) for member in ("idc", "ack", "nowhere")),
    subjects.desired(cluster_ref("nowhere")),
    subjects.revision("nobody", 1),
    *(f"brim.{stream}.{rest}" for stream in ("desired", "placement", "status", "outcome") for rest in ("a", "a.b.c")),
    *("brim.status.a.b.c.d", "brim.revision.a", "brim.revision.a.b", "brim.lease.nobody.holder"),
]


async def test_broken_envelopes_stop_nobody(tmp_path: Path) -> None:
    """Rubbish on every stream while the services work, and under their feet when they start: on subjects of nothing,
    on those of what is there, and on those of what comes later. Of what asks for something REJECTED tells."""
    async with playing(tmp_path, "hybrid.yaml") as play:
        asks = subjects.rebalance(reference("broken"))

        async def spoil(*spoiled: str, rubbish: tuple[bytes, ...] = RUBBISH) -> None:
            for subject in dict.fromkeys((*spoiled, *ODD_PLACES)):
                for payload in rubbish:
                    await play.bus.publish(subject, payload, headers=ODD_HEADERS)

        await spoil(*places(reference("broken"))[:-2])
        for count, payload in enumerate(RUBBISH, 1):  # of what asks for a move the newest alone is kept
            await play.bus.publish(asks, payload, headers=ODD_HEADERS)
            refused = await rejected(play, count)
        await play.submit(*web("before"))
        await play.eventually(lambda: play.ready("default", "before") == 4)
        assert {entry.subject for entry in refused} == {asks}
        pods = names(play.observer.pods("default", "before"))

        await spoil(*places(reference("before")), rubbish=RUBBISH[:3])  # of a subject five messages are kept
        await play.scale(reference("before"), 5)
        await play.eventually(lambda: play.ready("default", "before") == 5)
        for service in SERVICES:
            await play.stage.brim.stop(service)
        await spoil(*places(reference("before")), *places(reference("after")), rubbish=RUBBISH[3:])
        for service in SERVICES:
            play.stage.brim.start(service)
        await play.stage.brim.ready()
        await play.submit(*web("after"))
        await play.eventually(lambda: play.ready("default", "after") == 4)
        await play.settles(lambda: play.ready("default", "before") == 5, fleet_seconds=30)
        assert names(play.observer.pods("default", "before")) > pods, "pods were replaced"


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
        nowhere = Cordon(member="nowhere", wish="drained").encode()
        answer = Answer.decode(await play.bus.request(subjects.CORDON, nowhere))
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

Trouble = Callable[[Faults], Fault]

WATCHES = "/(nodes|pods|deployments)[?].*watch="
WRITTEN: dict[str, Trouble] = {  # what the next writes of a deployment get
    "409": lambda faults: faults.answer(409, method="PATCH", path=WRITES, times=2),
    "410": lambda faults: faults.answer(410, method="PATCH", path=WRITES, times=2),
    "429": lambda faults: faults.answer(429, method="PATCH", path=WRITES, times=1, retry_after=1),
    "500": lambda faults: faults.answer(500, method="PATCH", path=WRITES, times=2),
    "rubbish": lambda faults: faults.rubbish(method="PATCH", path=WRITES, times=2),
    "an empty object": lambda faults: faults.rubbish(method="PATCH", path=WRITES, times=2, body=b"{}"),
    "cut off": lambda faults: faults.reset(method="PATCH", path=WRITES, times=2),
}
READ: dict[str, Trouble] = {  # what the next watches get, once all are broken
    "404": lambda faults: faults.answer(404, path=WATCHES, times=4),
    "410": lambda faults: faults.answer(410, path=WATCHES, times=4),
    "500": lambda faults: faults.answer(500, path=WATCHES, times=4),
    "503 for all": lambda faults: faults.answer(503, times=8),
    "rubbish": lambda faults: faults.rubbish(path=WATCHES, times=4),
    "an empty object": lambda faults: faults.rubbish(path=WATCHES, times=4, body=b"{}"),
    "cut off": lambda faults: faults.reset(path=WATCHES, times=4),
}


@asynccontextmanager
async def trouble(play: Play, member: str, begin: Trouble) -> AsyncIterator[Fault]:
    faults = play.stage.brim.members[member].faults
    fault = begin(faults)
    try:
        yield fault
    finally:
        faults.clear()


@pytest.mark.parametrize("what", ["writes", "reads"])
async def test_a_member_in_trouble_is_served_when_it_recovers(
    tmp_path: Path, what: str, eventually: Eventually
) -> None:
    async with playing(tmp_path, "hybrid.yaml") as play:
        for number, (name, begin) in enumerate((WRITTEN if what == "writes" else READ).items()):
            app = f"web-{number}"
            async with trouble(play, "idc", begin) as fault:
                if what == "reads":
                    await play.stage.brim.members["idc"].pause()
                    await play.stage.brim.members["idc"].resume()
                await play.submit(*web(app))
                await play.eventually(
                    lambda app=app: play.ready("default", app) == 4,  # type: ignore[misc]
                    what=f"4 replicas after {name}",
                )
                await eventually(lambda: fault.hits == fault.times)
            await play.eventually(lambda app=app: sum(play.asked(reference(app)).values()) == 4, name)  # type: ignore[misc]
            assert all(play.ready("default", f"web-{before}") == 4 for before in range(number)), name


def refuses(faults: Faults) -> Fault:
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
