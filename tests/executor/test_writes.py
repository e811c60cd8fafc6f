"""What the executor writes, given a wish and what is known of the member's object."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.core.live import Live, mapping, read
from services.executor.core.target import Target
from services.executor.core.writes import Apply, Decision, Delete, Known, Patch, from_live, from_memory
from shared.contracts.refs import ObjectRef
from shared.workloads import count_of, kind_of
from tests.executor.wishes import (
    CONFIG_MAP,
    DEPLOYMENT,
    FOREIGN,
    JOB,
    NAMESPACE,
    NEW_IMAGE,
    NEWER,
    OLDER,
    ORDER,
    live_of,
    remembered,
    wish,
)


def told(decision: Decision) -> list[str]:
    """The writes in short: "brim: body", "brim: body+count", "brim-replicas: 3 at 1.7", "delete", "patch"."""
    return [_short(write) for write in decision.writes]


def _short(write: Apply | Delete | Patch) -> str:
    if isinstance(write, Delete):
        return f"delete {write.uid}" + (" as seen" if write.version else "")
    if isinstance(write, Patch):
        metadata = mapping(write.body["metadata"])
        return "release" if "managedFields" in metadata else "patch order"
    metadata = mapping(write.manifest["metadata"])
    ref = ObjectRef.of(write.manifest)
    kind = kind_of(ref.kind, ref.group)
    count = count_of(kind, write.manifest) if kind else None
    order = mapping(metadata.get("annotations")).get("brim.dev/order")
    force = (" by force" if write.force else "") + (" as seen" if "resourceVersion" in metadata else "")
    if write.manager == "brim-replicas":
        return f"brim-replicas: {count} at {order}{force}"
    what = "body" + (f" with {count}" if count is not None else "") + (f" at {order}" if order else "")
    return f"brim: {what}{force}"


@dataclass(frozen=True)
class Case:
    """live None: the object is not there."""

    name: str
    target: Target
    live: Live | None
    writes: list[str] = field(default_factory=list)
    result: str | None = "applied"
    code: str = ""
    look_again: bool = False
    known: Known | None = None
    unknown: bool = False
    applied_before: bool = False


BODY = "brim: body by force"

CASES = [
    Case("absent: created whole, unforced", wish(), None, ["brim: body with 3 at 1.7"], look_again=True),
    Case(
        "just created: the count is handed over as it is, then dropped",
        wish(),
        live_of(wish(), count_owners=frozenset({"brim"})),
        ["brim-replicas: 3 at 1.7 by force", BODY],
        look_again=True,
    ),
    Case(
        "handed over, but not dropped yet when the process died",
        wish(),
        live_of(wish(), count_owners=frozenset({"brim", "brim-replicas"})),
        [BODY],
        look_again=True,
    ),
    Case(
        "the live count is handed over, not the wanted one, and keeps its order",
        wish(),
        live_of(wish(), count_owners=frozenset({"brim"}), replicas=5, order=OLDER),
        ["brim-replicas: 5 at 1.6 by force", BODY],
        look_again=True,
    ),
    Case(
        "an autoscaler's count is handed over only where nobody wrote since the look",
        wish(autoscaled=True),
        live_of(wish(), count_owners=frozenset({"brim"}), replicas=8, order=OLDER),
        ["brim-replicas: 8 at 1.6 by force as seen", BODY],
        look_again=True,
    ),
    Case("as it should be: nothing", wish(), live_of(wish())),
    Case("scaled: one field", wish(), live_of(wish(), replicas=2, order=OLDER), ["brim-replicas: 3 at 1.7 by force"]),
    Case("a newer order alone", wish(), live_of(wish(), order=OLDER), ["brim-replicas: 3 at 1.7 by force"]),
    Case("somebody scaled it in the member", wish(), live_of(wish(), replicas=1), ["brim-replicas: 3 at 1.7 by force"]),
    Case(
        "a changed manifest: body, then count and order",
        wish(NEW_IMAGE, revision=2),
        live_of(wish(), order=OLDER),
        [BODY, "brim-replicas: 3 at 1.7 by force"],
    ),
    Case(
        "somebody took a field away",
        wish(),
        live_of(wish(), fields="f2"),
        [BODY],
        known=remembered(wish()),
    ),
    Case(
        "somebody took the label away",
        wish(),
        live_of(wish(), managed=False, managers=({"manager": "brim", "operation": "Apply"},)),
        [BODY],
    ),
    Case("a newer order in the member: dropped", wish(), live_of(wish(), order=NEWER), [], result=None),
    Case("suspended", wish(suspended=True), live_of(wish(), replicas=1), [], "suspended", "Suspended"),
    Case("suspended, not there", wish(suspended=True), None, [], "suspended", "Suspended"),
    Case("to go", replace(wish(present=False), manifest=None), live_of(wish()), ["delete object-1"], "deleted"),
    Case("to go, gone", wish(present=False), None, [], "deleted"),
    Case("to go, going", wish(present=False), live_of(wish(), terminating=True), [], "deleted"),
    Case("to go, but not brim's", wish(present=False), FOREIGN, [], "deleted"),
    Case("to go, but another workload's", wish(present=False), live_of(wish(uid="workload-2")), [], "deleted"),
    Case("to go by an old placement", wish(present=False), live_of(wish(), order=NEWER), [], None),
    Case("to stay without marks", wish(present=False, preserve=True), live_of(wish()), ["release"], "released"),
    Case(
        "a namespace is never deleted",
        wish(NAMESPACE, present=False),
        live_of(wish(NAMESPACE)),
        ["release"],
        "released",
    ),
    Case("there and not brim's", wish(), FOREIGN, [], "conflict", "AlreadyOwned"),
    Case(
        "there, not brim's, to be taken over: its count is not touched by the body",
        wish(overwrite=True),
        FOREIGN,
        [BODY, "brim-replicas: 3 at 1.7 by force"],
    ),
    Case("a namespace is shared, unforced", wish(NAMESPACE), Live(uid="object-9"), ["brim: body at 1.7"]),
    Case("there, going", wish(), live_of(wish(), terminating=True), [], "retrying", "Terminating"),
    Case(
        "deleted and submitted again: the old object becomes the new one",
        wish(uid="workload-2"),
        live_of(wish(), order=NEWER),
        [BODY, "brim-replicas: 3 at 1.7 by force"],
    ),
    Case(
        "an autoscaler owns the count",
        wish(autoscaled=True),
        live_of(wish(), replicas=8, order=OLDER),
        ["patch order"],
    ),
    Case("an autoscaler owns the count, all done", wish(autoscaled=True), live_of(wish(), replicas=8)),
    Case(
        "an autoscaler owns the count, new template",
        wish(NEW_IMAGE, revision=2, autoscaled=True),
        live_of(wish(), replicas=8, order=OLDER),
        [BODY, "patch order"],
    ),
    Case(
        "rolling out by Kruise: scaled without a template",
        wish(),
        live_of(wish(), in_progress=True, replicas=1, order=OLDER),
        ["brim-replicas: 3 at 1.7 by force"],
    ),
    Case(
        "rolling out by Kruise: what it changed is not drift",
        wish(),
        live_of(wish(), in_progress=True, fields="f2"),
        [],
        known=remembered(wish()),
    ),
    Case(
        "rolling out by Kruise: a change beside the template waits",
        wish(NEW_IMAGE),
        live_of(wish(), in_progress=True, order=OLDER),
        ["brim-replicas: 3 at 1.7 by force"],
        "retrying",
        "RolloutInProgress",
    ),
    Case(
        "rolling out by Kruise: a new revision is sent",
        wish(NEW_IMAGE, revision=2),
        live_of(wish(), in_progress=True, order=OLDER),
        [BODY, "brim-replicas: 3 at 1.7 by force"],
    ),
    Case("whole: created", wish(CONFIG_MAP), None, ["brim: body at 1.7"]),
    Case("whole: unchanged but the order", wish(CONFIG_MAP), live_of(wish(CONFIG_MAP), order=OLDER), ["patch order"]),
    Case(
        "whole: changed",
        wish({**CONFIG_MAP, "data": {"a": "b"}}),
        live_of(wish(CONFIG_MAP), order=OLDER),
        ["brim: body at 1.7 by force"],
    ),
    Case(
        "a whole Deployment keeps its own count",
        wish(divided=False),
        None,
        ["brim: body with 9 at 1.7"],
    ),
    Case("job: created with its share", wish(JOB, completions=6), None, ["brim: body with 3 at 1.7"], look_again=True),
    Case(
        "job: parallelism alone changes",
        wish(JOB, completions=6),
        live_of(wish(JOB, completions=6), replicas=1, order=OLDER, applied="other"),
        ["brim-replicas: 3 at 1.7 by force"],
    ),
    Case(
        "job: other completions before the first success: delete and create",
        wish(JOB, completions=4),
        live_of(wish(JOB, completions=6), order=OLDER),
        ["delete object-1 as seen"],
        "retrying",
        "Recreating",
    ),
    Case(
        "job: other completions after a success: refused",
        wish(JOB, completions=4),
        live_of(wish(JOB, completions=6), order=OLDER, succeeded=1),
        [],
        "failed",
        "Immutable",
    ),
    Case(
        "job: another template: refused",
        wish(JOB, completions=6, revision=2),
        live_of(wish(JOB, completions=6), order=OLDER),
        [],
        "failed",
        "Immutable",
    ),
    Case(
        "job: submitted again under its name: delete and create",
        wish(JOB, uid="workload-2", completions=6),
        live_of(wish(JOB, completions=6), succeeded=6),
        ["delete object-1"],
        "retrying",
        "Recreating",
    ),
    Case(
        "job: not brim's, cannot be taken over",
        wish(JOB, completions=6, overwrite=True),
        FOREIGN,
        [],
        "failed",
        "Immutable",
    ),
    Case(
        "as it should be, but others may have changed it: applied again, which changes nothing where they did not",
        wish(),
        live_of(wish()),
        [BODY],
        unknown=True,
    ),
    Case(
        "the same in the middle of a rollout: what belongs to it is left to it",
        wish(),
        live_of(wish(), in_progress=True),
        unknown=True,
    ),
    Case(
        "the same of a kind without replicas",
        wish(CONFIG_MAP),
        live_of(wish(CONFIG_MAP)),
        ["brim: body at 1.7 by force"],
        unknown=True,
    ),
    Case(
        "job: gone after its time to live: not run twice",
        wish({**JOB, "spec": {**mapping(JOB["spec"]), "ttlSecondsAfterFinished": 5}}, completions=6),
        None,
        [],
        applied_before=True,
    ),
    Case("job: gone after it finished: not run twice", wish(JOB, completions=6, finished=True), None, []),
    Case(
        "job: gone without a time to live: created again",
        wish(JOB, completions=6),
        None,
        ["brim: body with 3 at 1.7"],
        look_again=True,
        applied_before=True,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_after_a_look(case: Case) -> None:
    decision = from_live(
        case.target, case.live, known=case.known, unknown=case.unknown, applied_before=case.applied_before
    )
    assert told(decision) == case.writes
    assert (decision.result, decision.code, decision.look_again) == (case.result, case.code, case.look_again)


@dataclass(frozen=True)
class Remembered:
    """writes None: a look is needed first."""

    name: str
    target: Target
    known: Known
    writes: list[str] | None
    result: str | None = "applied"


BEFORE = wish(order=OLDER, replicas=2)
MEMORY = [
    Remembered("unchanged: no request", wish(), remembered(wish()), []),
    Remembered("scaled: one request", wish(), remembered(BEFORE), ["brim-replicas: 3 at 1.7 by force"]),
    Remembered(
        "new template: two requests",
        wish(NEW_IMAGE, revision=2),
        remembered(BEFORE),
        [BODY, "brim-replicas: 3 at 1.7 by force"],
    ),
    Remembered(
        "changed beside the template: look, a rollout may be under way", wish(NEW_IMAGE), remembered(BEFORE), None
    ),
    Remembered("older: dropped", wish(order=OLDER), remembered(wish()), [], None),
    Remembered("suspended", wish(suspended=True), remembered(BEFORE), [], "suspended"),
    Remembered("to go: one request", wish(present=False), remembered(BEFORE), ["delete object-1"], "deleted"),
    Remembered(
        "to stay without marks: look for the owners", wish(present=False, preserve=True), remembered(BEFORE), None
    ),
    Remembered("a namespace to go: look", wish(NAMESPACE, present=False), remembered(wish(NAMESPACE)), None),
    Remembered("another uid: look", wish(uid="workload-2"), remembered(BEFORE), None),
    Remembered("autoscaled: the order only", wish(autoscaled=True), remembered(BEFORE), ["patch order"]),
    Remembered(
        "autoscaled, new template",
        wish(NEW_IMAGE, revision=2, autoscaled=True),
        remembered(BEFORE),
        [BODY, "patch order"],
    ),
    Remembered(
        "job: parallelism",
        wish(JOB, completions=6),
        remembered(wish(JOB, completions=6, order=OLDER, replicas=1)),
        ["brim-replicas: 3 at 1.7 by force"],
    ),
    Remembered("job: anything else: look", wish(JOB, completions=4), remembered(wish(JOB, completions=6)), None),
    Remembered(
        "whole, changed: one request",
        wish({**CONFIG_MAP, "data": {"a": "b"}}),
        remembered(wish(CONFIG_MAP, order=OLDER)),
        ["brim: body at 1.7 by force"],
    ),
    Remembered("whole, order only", wish(CONFIG_MAP), remembered(wish(CONFIG_MAP, order=OLDER)), ["patch order"]),
]


@pytest.mark.parametrize("case", MEMORY, ids=lambda case: case.name)
def test_from_memory(case: Remembered) -> None:
    decision = from_memory(case.target, case.known)
    if case.writes is None:
        assert decision is None
        return
    assert decision is not None
    assert told(decision) == case.writes
    assert decision.result == case.result


@given(
    replicas=st.integers(0, 9),
    live_replicas=st.integers(0, 9),
    older=st.booleans(),
    owners=st.sets(st.sampled_from(["brim", "brim-replicas", "kubectl"])),
    in_progress=st.booleans(),
    changed=st.booleans(),
    unknown=st.booleans(),
)
def test_whatever_the_state_every_write_to_an_object_names_its_uid_and_the_way_ends(
    replicas: int, live_replicas: int, older: bool, owners: set[str], in_progress: bool, changed: bool, unknown: bool
) -> None:
    target = wish(NEW_IMAGE if changed else DEPLOYMENT, replicas=replicas)
    live = live_of(
        wish(),
        replicas=live_replicas,
        order=OLDER if older else ORDER,
        count_owners=frozenset(owners),
        in_progress=in_progress,
    )
    for step in range(3):
        decision = from_live(target, live, unknown=unknown and not step)
        for write in decision.writes:
            assert isinstance(write, Apply)
            assert mapping(write.manifest["metadata"])["uid"] == live.uid
            live = _after(live, write)
        if not decision.look_again:
            break
    assert not decision.look_again
    assert live.replicas == replicas
    assert "brim" not in live.count_owners


def _after(live: Live, write: Apply) -> Live:
    """What an API server makes of it: a sole owner that drops the count resets it to one."""
    kind = kind_of("Deployment", "apps")
    assert kind is not None
    count = count_of(kind, write.manifest)
    if count is not None:
        owners = frozenset({write.manager}) | (live.count_owners if count == live.replicas else frozenset())
        order = read(write.manifest, kind).order
        return replace(live, replicas=count, count_owners=owners, order=order)
    applied = read(write.manifest, kind).applied
    rest = live.count_owners - {write.manager}
    reset = write.manager in live.count_owners and not rest
    return replace(live, count_owners=rest, replicas=1 if reset else live.replicas, applied=applied)
