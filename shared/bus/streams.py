"""The table of JetStream streams, and how they come to be.

Only the filters live here; subjects are built, with their one token encoding, by `shared.contracts.subjects`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

KEEPER = "scheduler"  # the service that makes and changes the streams; all others wait for them
MIB = 1024 * 1024
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What one stream keeps.

    template: the destination template that spans are named after, never a raw subject.
    work_queue: a message goes when it is acknowledged; else it stays until a limit is met.
    history: messages kept per subject, 0 for all.
    max_age: seconds, 0 for ever. max_bytes: 0 for no limit; `discard` says what happens at the limit:
    "old" drops the oldest, "new" refuses the publish. The server sets storage aside for max_bytes, so that
    they are kept small enough for a laptop.
    tombstones: messages may replace all earlier ones of their subject (rollup) and expire (TTL).
    batches: several messages may be stored all or nothing.
    """

    name: str
    subjects: tuple[str, ...]
    template: str
    work_queue: bool = False
    history: int = 0
    max_age: float = 0.0
    max_bytes: int = 0
    discard: Literal["old", "new"] = "old"
    tombstones: bool = False
    batches: bool = False

    def config(self, replicas: int, duplicate_window: float) -> dict[str, object]:
        """The server's StreamConfig (times in nanoseconds)."""
        window = min(duplicate_window, self.max_age) if self.max_age else duplicate_window
        return {
            "name": self.name,
            "subjects": list(self.subjects),
            "retention": "workqueue" if self.work_queue else "limits",
            "storage": "file",
            "num_replicas": replicas,
            "max_msgs_per_subject": self.history or -1,
            "max_msgs": -1,
            "max_consumers": -1,
            "max_age": int(self.max_age * 1e9),
            "max_bytes": self.max_bytes or -1,
            "max_msg_size": -1,
            "discard": self.discard,
            "duplicate_window": int(window * 1e9),
            "allow_rollup_hdrs": self.tombstones or self.batches,
            "allow_msg_ttl": self.tombstones,
            "allow_atomic": self.batches,
            "allow_direct": True,
        }


SUBMIT = StreamSpec(
    "SUBMIT",
    ("brim.submit.>",),
    "brim.submit.<kind>",
    work_queue=True,
    max_bytes=256 * MIB,
    discard="new",  # a wish that was acknowledged must not be dropped: refuse the next one instead
)
DESIRED = StreamSpec(
    "DESIRED", ("brim.desired.>",), "brim.desired.<kind>.<namespace>.<name>", history=5, tombstones=True
)
REVISION = StreamSpec("REVISION", ("brim.revision.>",), "brim.revision.<uid>.<n>", history=1, tombstones=True)
CAPACITY = StreamSpec(
    "CAPACITY",
    ("brim.capacity.*",),
    "brim.capacity.<member>",
    max_bytes=1024 * MIB,
    tombstones=True,
    batches=True,
)
PODS = StreamSpec("PODS", ("brim.pod.>",), "brim.pod.<member>.<namespace>.<name>", history=1, tombstones=True)
STATUS = StreamSpec(
    "STATUS",
    ("brim.status.>",),
    "brim.status.<member>.<kind>.<namespace>.<name>",
    history=1,
    tombstones=True,
)
PLACEMENT = StreamSpec(
    "PLACEMENT",
    ("brim.placement.>",),
    "brim.placement.<kind>.<namespace>.<name>",
    history=10,
    tombstones=True,
)
BINDING = StreamSpec(
    "BINDING",
    ("brim.binding.>",),
    "brim.binding.<member>.<namespace>.<pod>",
    work_queue=True,
    max_age=600.0,
    max_bytes=128 * MIB,
)
REBALANCE = StreamSpec(
    "REBALANCE",
    ("brim.rebalance.>",),
    "brim.rebalance.<kind>.<namespace>.<name>",
    work_queue=True,
    history=1,  # the newest count of stuck replicas says it all
    max_bytes=64 * MIB,
)
ACTION = StreamSpec(
    "ACTION",
    ("brim.action.>",),
    "brim.action.<service>.<verb>",
    work_queue=True,
    max_age=DAY,
    max_bytes=16 * MIB,
    discard="new",
)
ACTED = StreamSpec(
    "ACTED",
    ("brim.acted.>",),
    "brim.acted.<id>.<member>",
    history=1,
    max_age=7 * DAY,
    max_bytes=64 * MIB,
)
COST = StreamSpec(
    "COST",
    ("brim.cost.>",),
    "brim.cost.<member>.<kind>.<namespace>.<name>",
    history=1,
    tombstones=True,
)
OUTCOME = StreamSpec(
    "OUTCOME",
    ("brim.outcome.>",),
    "brim.outcome.<member>.<kind>.<namespace>.<name>",
    history=1,
    tombstones=True,
)
REJECTED = StreamSpec("REJECTED", ("brim.rejected.>",), "brim.rejected.<service>", max_age=7 * DAY, max_bytes=64 * MIB)
LEASE = StreamSpec("LEASE", ("brim.lease.>",), "brim.lease.<name>", history=1, tombstones=True)

STREAMS: Mapping[str, StreamSpec] = {
    spec.name: spec
    for spec in (
        SUBMIT,
        DESIRED,
        REVISION,
        CAPACITY,
        PODS,
        STATUS,
        PLACEMENT,
        BINDING,
        REBALANCE,
        ACTION,
        ACTED,
        COST,
        OUTCOME,
        REJECTED,
        LEASE,
    )
}

_TEMPLATES = {spec.subjects[0].split(".")[1]: spec.template for spec in STREAMS.values()}


def template_of(subject: str) -> str:
    """The destination template of a subject: `brim.pod.idc.default.web-1` is `brim.pod.<member>.…`."""
    tokens = subject.split(".", 2)
    return _TEMPLATES.get(tokens[1], tokens[0] + "." + tokens[1]) if len(tokens) > 1 else subject
