"""Which revision each member is to have: pins, waves of a FleetRollout, and members that join in mid-rollout.

A wave starts when every member of the one before is healthy and has been so for its bake. Members that leave are
forgotten, members that join get the revision before until their wave is through: neither stops a rollout. All of it
follows from the placement in force, the statuses and the time, so that it may be asked again at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from services.scheduler.core.filtering import selects
from services.scheduler.core.values import Affinity, MemberFacts
from shared.contracts.placement import Waves
from shared.contracts.status import Status

ALL = "*"  # in pins: every member
OBSERVED = 15.0  # seconds between two looks at what only time or a query can tell

_OWN_ROLLOUT = "its own rollout is under way"

# unknown: all is well but for a query's value, which nobody knows yet, or not any more
Health: TypeAlias = Literal["healthy", "unknown", "waiting", "failed"]


@dataclass(frozen=True, slots=True)
class Gate:
    """See shared.contracts.fleet_rollout.Gate. timeout: seconds. query: whether one is asked; lowest, highest: of its
    value."""

    ready_percent: int = 100
    max_restarts: int | None = None
    timeout: float = 1800.0
    query: bool = False
    lowest: float | None = None
    highest: float | None = None


@dataclass(frozen=True, slots=True)
class Wave:
    """affinity: its members; None for those that no other wave selects. bake: seconds."""

    name: str
    affinity: Affinity | None = None
    bake: float = 0.0
    gate: Gate = Gate()


@dataclass(frozen=True, slots=True)
class Plan:
    """A FleetRollout, normalised. at_once: members in the middle of an update. undo: on failure, rather than pause.

    generation: of its manifest. A newer one than the state knows lets a failed rollout try again.
    """

    name: str
    waves: tuple[Wave, ...]
    at_once: int = 1
    undo: bool = False
    paused: bool = False
    generation: int = 1

    def place(self, member: MemberFacts) -> int:
        """The position of the member's wave: the first that selects it, or one after the last."""
        for position, wave in enumerate(self.waves):
            if wave.affinity is None or selects(wave.affinity, member):
                return position
        return len(self.waves)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a gate's query said of a member that has this revision, in this wave: it says nothing of any other.

    value: None where there is none, and why.
    """

    revision: int
    wave: int
    value: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Update:
    """One member that holds the workload.

    current: the revision that its share names; 0 where it has none yet. replicas: of the share. measured: what the
    gate's query said last, None while it was not asked.
    """

    facts: MemberFacts
    current: int
    replicas: int
    status: Status | None = None
    measured: Measured | None = None

    @property
    def id(self) -> str:
        return self.facts.id


@dataclass(frozen=True, slots=True)
class Revisions:
    """targets: revision by member. due: Unix seconds at which to look again, None where only news matters."""

    targets: Mapping[str, int]
    waves: Waves | None = None
    due: float | None = None
    reasons: tuple[tuple[str, str, str], ...] = ()  # (code, sentence, member)


@dataclass(slots=True)
class _Turn:
    """One look at a wave."""

    plan: Plan
    state: Waves
    before: int
    now: float
    pins: Mapping[str, int]
    targets: dict[str, int] = field(default_factory=dict)
    reasons: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def wave(self) -> Wave:
        return self.plan.waves[self.state.wave] if self.state.wave < len(self.plan.waves) else Wave("rest")

    def taken_back(self, update: Update) -> bool:
        """By people: the wave does not go on without it, as somebody found the revision bad there."""
        return self.pins.get(update.id, self.state.revision) < self.state.revision

    def become(self, **changes: object) -> None:
        self.state = self.state.model_copy(update={"since": self.now, **changes})


def decide(
    newest: int,
    before: int,
    updates: list[Update],
    pins: Mapping[str, int],
    plan: Plan | None,
    state: Waves | None,
    now: float,
    *,
    stepwise: bool = False,
) -> Revisions:
    """newest: the workload's revision; before: the one that members had until it came, 0 for none.

    state: of the placement in force. stepwise: a Kruise Rollout takes the members over, each by its steps.
    """
    if plan is None or not before or before == newest:
        rolling = any(_is_rolling(update, newest, stepwise) for update in updates)
        targets = {update.id: _joined(update, newest, before, rolling) for update in updates}
        return _pinned(Revisions(targets), pins)
    known = state is not None and state.revision == newest and state.rollout == plan.name
    if ALL in pins:  # people said where every member is to be
        ended = _ended(state, pins[ALL], now) if known and state is not None else None
        return _pinned(Revisions({update.id: newest for update in updates}, ended), pins)
    if state is None or not known:
        state = Waves(rollout=plan.name, revision=newest, since=now)
    return _pinned(_waves(_Turn(plan, state, before, now, pins), updates), pins)


def _ended(state: Waves, revision: int, now: float) -> Waves:
    """What people took back everywhere does not go on."""
    if state.state in ("undone", "done"):
        return state
    message = f"every member was taken back to revision {revision}"
    return state.model_copy(update={"state": "undone", "since": now, "message": message})


def _pinned(found: Revisions, pins: Mapping[str, int]) -> Revisions:
    """People have the last word."""
    if not pins:
        return found
    targets = {member: pins.get(member, pins.get(ALL, target)) for member, target in found.targets.items()}
    return Revisions(targets, found.waves, found.due, found.reasons)


def _is_rolling(update: Update, newest: int, stepwise: bool) -> bool:
    """In the middle of its own rollout, or about to begin it: a member may be away, or not have been told yet."""
    status = update.status
    if status is not None and status.rolling:
        return True
    return stepwise and update.current == newest and (status is None or status.revision != newest)


def _joined(update: Update, newest: int, before: int, rolling: bool) -> int:
    """A member that first gets replicas while others are in the middle of a rollout (rolling) starts with what is
    stable: its own rollout then takes it forward, once it is there and ready."""
    if update.current == newest or not before or not rolling:
        return newest
    if update.current == 0:
        return before
    status = update.status
    settled = status is not None and status.revision == update.current and status.ready >= update.replicas
    return newest if settled else update.current


# -- waves ---------------------------------------------------------------------------------------------------


def asked(plan: Plan, state: Waves, updates: list[Update]) -> list[str]:
    """Members about which the gate's query is to be asked: those of the wave under way that run its revision."""
    if state.state not in ("running", "baking") or state.wave >= len(plan.waves):
        return []
    if not plan.waves[state.wave].gate.query:
        return []
    here = (update for update in updates if plan.place(update.facts) == state.wave)
    return [update.id for update in here if update.current == state.revision and _runs(update, state.revision)]


def _runs(update: Update, revision: int) -> bool:
    status = update.status
    return status is not None and status.revision == revision and status.observed_generation >= status.generation


def _waves(turn: _Turn, updates: list[Update]) -> Revisions:
    places = {update.id: turn.plan.place(update.facts) for update in updates}
    count = max([len(turn.plan.waves), *(place + 1 for place in places.values())])
    turn.state = turn.state.model_copy(update={"waves": count})
    _pause_or_go_on(turn)
    turn.state = turn.state.model_copy(update={"generation": turn.plan.generation})
    while _step(turn, [u for u in updates if places[u.id] == turn.state.wave]):
        pass
    for update in updates:
        turn.targets.setdefault(update.id, _outside(turn, update, places[update.id]))
    return Revisions(turn.targets, turn.state, _due(turn), tuple(turn.reasons))


def _due(turn: _Turn) -> float | None:
    """A query's value and a timeout are looked at again and again, a bake ends at its time."""
    match turn.state.state:
        case "running":
            return turn.now + OBSERVED
        case "baking":
            end = turn.state.since + turn.wave.bake
            return end if end > turn.now and not turn.wave.gate.query else turn.now + OBSERVED
        case _:
            return None


def _pause_or_go_on(turn: _Turn) -> None:
    state, paused = turn.state.state, turn.plan.paused
    tries_again = state == "failed" and turn.plan.generation > turn.state.generation
    if paused and state in ("running", "baking"):
        turn.become(state="paused", message="paused by its manifest")
    elif not paused and (state == "paused" or tries_again):
        turn.become(state="running", message="")


def _step(turn: _Turn, here: list[Update]) -> bool:
    """The wave under way; True where it is through and the next one is to be looked at."""
    state = turn.state.state
    if state in ("done", "failed", "undone", "paused"):
        return False
    back = [update for update in here if turn.taken_back(update)]
    here = [update for update in here if update not in back]
    health = {update.id: _health(turn, update) for update in here if update.current == turn.state.revision}
    failed = [member for member, (verdict, _) in health.items() if verdict == "failed"]
    if failed:
        return _fail(turn, failed, health)
    for member, (verdict, why) in health.items():
        if verdict != "healthy":
            turn.reasons.append(("WaveWaits", why, member))
    for update in back:
        turn.reasons.append(("WaveWaits", f"it was taken back to revision {turn.pins[update.id]}", update.id))
    started = [update for update in here if update.id in health]
    waiting = [update for update in here if update.id not in health]
    verdicts = [verdict for verdict, _ in health.values()]
    busy = len(verdicts) - verdicts.count("healthy")
    if waiting or busy or back:
        if state == "baking" and (waiting or back or "waiting" in verdicts):
            turn.become(state="running", message="")
        _start(turn, waiting, turn.plan.at_once - busy)
        for update in started:
            turn.targets[update.id] = turn.state.revision
        return False
    return _bake(turn, turn.wave.bake if here else 0.0)


def _start(turn: _Turn, waiting: list[Update], room: int) -> None:
    chosen = sorted(waiting, key=lambda update: update.id)[: max(0, room)]
    for update in chosen:
        turn.targets[update.id] = turn.state.revision
    if chosen:
        turn.become(state="running", message="")


def _bake(turn: _Turn, bake: float) -> bool:
    if turn.state.state == "running" and bake:
        turn.become(state="baking", message=f"wave {turn.wave.name} is healthy")
    if turn.state.state == "baking" and turn.now < turn.state.since + bake:
        return False
    through = turn.state.wave + 1
    turn.become(wave=through, state="done" if through >= turn.state.waves else "running", message="")
    return through < turn.state.waves


def _fail(turn: _Turn, failed: list[str], health: Mapping[str, tuple[Health, str]]) -> bool:
    why = "; ".join(f"{member}: {health[member][1]}" for member in sorted(failed))
    for member in failed:
        turn.reasons.append(("WaveFailed", health[member][1], member))
    turn.become(state="undone" if turn.plan.undo else "failed", message=f"wave {turn.wave.name} failed: {why}")
    return False


def _outside(turn: _Turn, update: Update, place: int) -> int:
    """A member that this look started nothing in."""
    if turn.state.state == "undone":
        return turn.before
    if place < turn.state.wave or turn.state.state == "done":
        return turn.state.revision
    return update.current or turn.before


# -- health --------------------------------------------------------------------------------------------------


def _health(turn: _Turn, update: Update) -> tuple[Health, str]:
    """Of a member that was told to go over. Nothing fails before its time but restarts and a value out of bounds.

    What is waited for is said without counts, so that each replica on its way does not make another placement. A value
    that is not known keeps a wave from going on, but does not begin its bake anew: its server may be away.
    """
    gate, status, value = turn.wave.gate, update.status, _value(turn, update)
    if status is not None and status.revision == turn.state.revision:
        if gate.max_restarts is not None and status.restarts > gate.max_restarts:
            return "failed", f"{status.restarts} restarts, {gate.max_restarts} are allowed"
        if value is not None and not _within(gate, value):
            return "failed", f"the query's value is {value:g}, outside of its bounds"
    verdict: Health = "waiting"
    why = _waits_for(turn, update)
    if not why and gate.query and value is None:
        verdict, why = "unknown", _no_value(update)
    if not why:
        return "healthy", ""
    return ("failed", f"after {gate.timeout:g} s {why}") if _is_late(turn, verdict, why) else (verdict, why)


def _is_late(turn: _Turn, verdict: Health, why: str) -> bool:
    if turn.state.state == "baking":  # what is not healthy any more begins anew; without a value it may end too late
        limit = turn.wave.bake + turn.wave.gate.timeout
        return verdict == "unknown" and turn.now >= turn.state.since + limit
    running = turn.state.state == "running"
    # A step of its own may wait for a person.
    return running and why != _OWN_ROLLOUT and turn.now >= turn.state.since + turn.wave.gate.timeout


def _value(turn: _Turn, update: Update) -> float | None:
    """Measured on what runs there now, and for this wave: another wave asks something else."""
    found = update.measured
    if not turn.wave.gate.query or found is None:
        return None
    return found.value if (found.revision, found.wave) == (turn.state.revision, turn.state.wave) else None


def _no_value(update: Update) -> str:
    why = update.measured.why if update.measured is not None else ""
    return f"the query has no value yet: {why}" if why else "the query has no value yet"


def _waits_for(turn: _Turn, update: Update) -> str:
    gate, status = turn.wave.gate, update.status
    if status is None or not _runs(update, turn.state.revision):
        return "it has not taken the revision yet"
    if status.ready < -(-update.replicas * gate.ready_percent // 100):
        return f"less than {gate.ready_percent} % of its replicas are ready"
    if status.rolling:
        return _OWN_ROLLOUT
    if status.updated < update.replicas:
        return "not all of its replicas are updated"
    return "pods of before are still there, and may be those that serve" if _pods(status) > update.replicas else ""


def _pods(status: Status) -> int:
    """Pods that are there, at least: of those that wait some have a node, and of those with a node some serve."""
    return max(status.bound + sum(entry.count for entry in status.unschedulable), status.ready + status.pending)


def _within(gate: Gate, value: float) -> bool:
    return (gate.lowest is None or value >= gate.lowest) and (gate.highest is None or value <= gate.highest)
