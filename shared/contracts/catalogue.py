"""The table of everything that travels: subject, contract, who writes it, who reads it.

How long a stream keeps its messages is said once, in `shared.bus.streams`; this table refers to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.bus import streams
from shared.bus.streams import StreamSpec
from shared.contracts import examples, subjects
from shared.contracts.action import Acted, Action
from shared.contracts.base import Contract
from shared.contracts.binding import Annotate, Bind, Evict, Note, Pend, Release
from shared.contracts.capacity import Delta, Heartbeat, Snapshot
from shared.contracts.cost import Cost
from shared.contracts.desired import Desired, Revision
from shared.contracts.outcome import Outcome, Rejected
from shared.contracts.placement import Placement
from shared.contracts.pod import Pod
from shared.contracts.read import Read, ReadAnswer
from shared.contracts.rebalance import Rebalance
from shared.contracts.status import Status
from shared.contracts.submit import Answer, Cordon, Delete, Plan, Planned, Roll, Scale

PEOPLE: Final = "people"
INTAKE: Final = "scheduler (intake)"
SCHEDULER: Final = "scheduler"
INVENTORY: Final = "inventory"
EXECUTOR: Final = "executor"
DESCHEDULER: Final = "descheduler"
CLI: Final = "CLI"
SERVICES: Final = (INVENTORY, SCHEDULER, EXECUTOR, DESCHEDULER)


@dataclass(frozen=True, slots=True)
class Channel:
    """One subject, or family of subjects.

    subject: a template; `<name>` stands for one encoded token. example: one real subject of it.
    stream: where messages are kept; None for request and reply, which nothing keeps.
    contracts: what its messages are. Empty: the manifests themselves (`manifests`), an empty message, or
    nothing yet. answer: the contract of the reply; `Invalid` faults come as an error reply.
    """

    name: str
    subject: str
    example: str
    purpose: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    stream: StreamSpec | None = None
    contracts: tuple[type[Contract], ...] = ()
    manifests: bool = False
    answer: type[Contract] | None = None

    @property
    def is_request(self) -> bool:
        """Whether its readers answer; some with an empty message."""
        return self.stream is None and (self.answer is not None or not self.contracts)

    @property
    def retention(self) -> str:
        """How long its messages are kept, in words."""
        return "request and reply, not kept" if self.stream is None else retention_of(self.stream)


def retention_of(spec: StreamSpec) -> str:
    """A stream's limits in words: "newest 5 per subject", "until acknowledged, at most 10 min"."""
    parts = []
    if spec.work_queue:
        parts.append("until acknowledged")
    if spec.history:
        parts.append("the newest per subject" if spec.history == 1 else f"the newest {spec.history} per subject")
    if spec.max_age:
        parts.append(f"at most {_duration(spec.max_age)}")
    if spec.max_bytes:
        refuses = ", then refuses more" if spec.discard == "new" else ""
        parts.append(f"at most {spec.max_bytes // streams.MIB} MiB{refuses}")
    return "; ".join(parts)


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def _kept(
    spec: StreamSpec,
    example: str,
    purpose: str,
    writers: tuple[str, ...],
    readers: tuple[str, ...],
    *contracts: type[Contract],
) -> Channel:
    return Channel(spec.name, spec.template, example, purpose, writers, readers, spec, contracts)


def _submitted(verb: str, purpose: str, *contracts: type[Contract]) -> Channel:
    return Channel(
        f"SUBMIT {verb}",
        subjects.submit(verb),
        subjects.submit(verb),
        purpose,
        (PEOPLE,),
        (INTAKE,),
        streams.SUBMIT,
        contracts,
        manifests=not contracts,
    )


def _asked(
    name: str, subject: str, purpose: str, served_by: str, contract: type[Contract] | None, answer: type[Contract]
) -> Channel:
    return Channel(
        name,
        subject,
        subject.replace("<member>", "idc"),
        purpose,
        (PEOPLE,),
        (served_by,),
        contracts=(contract,) if contract else (),
        manifests=contract is None,
        answer=answer,
    )


_REF = examples.REF

CHANNELS: Final[tuple[Channel, ...]] = (
    _asked(
        "apply",
        subjects.APPLY,
        "Manifests, answered with what was accepted or what is wrong, field by field.",
        INTAKE,
        None,
        Answer,
    ),
    _asked("delete", subjects.DELETE, "Delete objects from the fleet.", INTAKE, Delete, Answer),
    _asked("scale", subjects.SCALE, "Set a workload's replicas.", INTAKE, Scale, Answer),
    _asked("cordon", subjects.CORDON, "Open, cordon or drain a member.", INTAKE, Cordon, Answer),
    _asked("roll", subjects.ROLL, "Undo, restart, pause, resume or abort a rollout.", INTAKE, Roll, Answer),
    _asked("plan", subjects.PLAN, "What would be decided now; nothing is stored.", SCHEDULER, Plan, Planned),
    _asked("read", "brim.read.<member>", "Inventory's view of one member.", INVENTORY, Read, ReadAnswer),
    Channel(
        "snapshot",
        "brim.snapshot.<member>",
        subjects.snapshot("idc"),
        "Asks for a new capacity snapshot of one member, and waits until it is on CAPACITY. Both messages are empty.",
        (SCHEDULER,),
        (INVENTORY,),
    ),
    _submitted("apply", "Manifests that must not get lost; refused ones land in REJECTED."),
    _submitted("delete", "As the request `brim.delete`, but kept until it was read.", Delete),
    _submitted("scale", "As the request `brim.scale`, but kept until it was read.", Scale),
    _submitted("cordon", "As the request `brim.cordon`, but kept until it was read.", Cordon),
    _submitted("roll", "As the request `brim.roll`, but kept until it was read.", Roll),
    _kept(
        streams.DESIRED,
        subjects.desired(_REF),
        "What people want, as accepted and normalised. A refused message never displaces a good one.",
        (INTAKE,),
        (SCHEDULER, INVENTORY, EXECUTOR, CLI),
        Desired,
    ),
    _kept(
        streams.REVISION,
        subjects.revision(examples.UID, 1),
        "Superseded pod templates, while a placement names them.",
        (INTAKE,),
        (EXECUTOR, SCHEDULER, CLI),
        Revision,
    ),
    _kept(
        streams.CAPACITY,
        subjects.capacity("idc"),
        "A member's room: a snapshot replaces everything before it, numbered deltas follow, heartbeats between.",
        (INVENTORY,),
        (SCHEDULER, INVENTORY, CLI),
        Snapshot,
        Delta,
        Heartbeat,
    ),
    _kept(
        streams.PODS,
        subjects.pod("idc", "test", "qwen3-5665b88779-7k2xw"),
        "Pods that brim binds to nodes itself, bound ones that count for constraints, and serverless instances.",
        (INVENTORY,),
        (SCHEDULER, INVENTORY, CLI),
        Pod,
    ),
    _kept(
        streams.STATUS,
        subjects.status("ack", _REF),
        "How an object that brim manages fares in one member.",
        (INVENTORY,),
        (DESCHEDULER, SCHEDULER, INVENTORY, CLI),
        Status,
    ),
    _kept(
        streams.PLACEMENT,
        subjects.placement(_REF),
        "The scheduler's decision for one object, and why.",
        (SCHEDULER,),
        (EXECUTOR, DESCHEDULER, SCHEDULER, CLI),
        Placement,
    ),
    _kept(
        streams.BINDING,
        subjects.binding("idc", "test", "qwen3-5665b88779-7k2xw"),
        "What is to be done with one pod: bind it, say that it fits nowhere, evict it, and so on.",
        (SCHEDULER,),
        (EXECUTOR,),
        Bind,
        Pend,
        Annotate,
        Evict,
        Note,
        Release,
    ),
    _kept(
        streams.REBALANCE,
        subjects.rebalance(_REF),
        "A wish that replicas move: because they are stuck, or because somebody asks.",
        (DESCHEDULER, CLI),
        (SCHEDULER,),
        Rebalance,
    ),
    _kept(
        streams.ACTION,
        subjects.action("executor", "approve"),
        "One-shot verbs: approving a paused step of a rollout.",
        (CLI,),
        (EXECUTOR,),
        Action,
    ),
    Channel(
        "acting",
        "brim.acting.<id>",
        subjects.acting("5f0c7c1e"),
        "What comes of an action, member by member, to whoever asked for it and still listens.",
        (EXECUTOR,),
        (CLI,),
        contracts=(Acted,),
    ),
    _kept(
        streams.ACTED,
        subjects.acted("5f0c7c1e", "idc"),
        "The same, kept: who did what, and so that a member which has its answer is not asked again.",
        (EXECUTOR,),
        (EXECUTOR, CLI),
        Acted,
    ),
    _kept(
        streams.COST,
        subjects.cost("ack", _REF),
        "What a workload's pods have cost and cost now in one member.",
        (INVENTORY,),
        (INVENTORY, CLI),
        Cost,
    ),
    _kept(
        streams.OUTCOME,
        subjects.outcome("idc", _REF),
        "What became of a placement in one member.",
        (EXECUTOR,),
        (SCHEDULER, EXECUTOR, CLI),
        Outcome,
    ),
    _kept(
        streams.REJECTED,
        subjects.rejected("scheduler"),
        "Messages that were refused, with the same faults that a request would have been answered with.",
        (SCHEDULER, EXECUTOR),
        (PEOPLE, CLI),
        Rejected,
    ),
    _kept(
        streams.LEASE,
        "brim.lease.scheduler.holder",
        "Who leads, per service; private to the bus adapter.",
        SERVICES,
        SERVICES,
    ),
)

CONTRACTS: Final[tuple[type[Contract], ...]] = tuple(
    dict.fromkeys(
        contract
        for channel in CHANNELS
        for contract in (*channel.contracts, *((channel.answer,) if channel.answer else ()))
    )
)

EXAMPLES: Final[Mapping[type[Contract], Contract]] = examples.EXAMPLES
