"""One member as a machine plays it: its nodes and pods, its own scheduler, and what it was heard to say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from shared.contracts.capacity import Capacity, Delta, Snapshot
from tests.scheduler.core_world import columns, node, pool, snapshot

SIZE = 3  # slots of every node


@dataclass
class Member:
    """The truth in one member, and what of it the scheduler was told. pods: per node, the uids bound there."""

    pods: dict[str, list[str]] = field(default_factory=dict)
    pool: int = 0
    number: int = 0
    born: int = 0
    waiting: dict[str, int] = field(default_factory=dict)
    lost: bool = False
    stream: list[Capacity] = field(default_factory=list)  # the last snapshot, and all that came since
    seen: tuple[int, int, dict[str, int]] = (0, 0, {})  # free slots on nodes, in headroom, bound

    def add_node(self) -> None:
        self.born += 1
        self.pods[f"node-{self.born}"] = []

    def bound(self) -> dict[str, int]:
        uids = [uid for pods in self.pods.values() for uid in pods]
        return {uid: uids.count(uid) for uid in set(uids)}

    def total(self, uid: str) -> int:
        return self.bound().get(uid, 0) + self.waiting.get(uid, 0)

    def run(self, uid: str, replicas: int) -> None:
        """What a Deployment of so many replicas has: pods that wait go first."""
        waiting = max(0, self.waiting.get(uid, 0) + replicas - self.total(uid))
        self.waiting[uid] = waiting
        for pods in self.pods.values():
            while uid in pods and self.total(uid) > replicas:
                pods.remove(uid)

    def bind_one(self, pick: int) -> bool:
        """The member's own scheduler: any pod that waits, on any node with a free slot."""
        uids = sorted(uid for uid, count in self.waiting.items() if count)
        free = sorted(name for name, pods in self.pods.items() if len(pods) < SIZE)
        if uids and not free and self.pool:
            self.pool -= 1
            self.add_node()
            return True
        if not uids or not free:
            return False
        uid = uids[pick % len(uids)]
        self.waiting[uid] -= 1
        self.pods[free[pick % len(free)]].append(uid)
        return True

    # -- what it says ------------------------------------------------------------------------------------------

    @property
    def free(self) -> int:
        return sum(SIZE - len(pods) for pods in self.pods.values())

    def _nodes(self) -> Iterable[tuple[str, dict[str, int], str, int]]:
        return [node(name, SIZE - len(pods)) for name, pods in self.pods.items()]

    def delta(self, member: str, now: float) -> Delta:
        """The next one: everything there is, and everything that is gone."""
        self.number += 1
        known = {f"node-{number}" for number in range(1, self.born + 1)}
        return Delta(
            member=member,
            epoch=1,
            number=self.number,
            observed_at=now,
            nodes=columns(self._nodes()),
            removed=sorted(known - self.pods.keys()),
            pools=(pool("p", SIZE, self.pool),),
            bound=dict.fromkeys(self.seen[2], 0) | self.bound(),
        )

    def snapshot(self, member: str, chunks: int = 1) -> list[Snapshot]:
        """In so many chunks, some of which may hold no node."""
        nodes = list(self._nodes())
        whole = snapshot(member, (), number=self.number, pools=[pool("p", SIZE, self.pool)], bound=self.bound())
        parts = [nodes[place::chunks] for place in range(chunks)]
        return [
            whole.model_copy(
                update={
                    "chunk": place,
                    "chunks": chunks,
                    "nodes": columns(part),
                    **({} if place == 0 else {"pools": (), "bound": {}, "classes": {}}),
                }
            )
            for place, part in enumerate(parts)
        ]

    def was_heard(self, *messages: Capacity) -> None:
        """The scheduler has taken these in: they say all that is true now."""
        self.seen = (self.free, self.pool * SIZE, self.bound())
        self.stream = [*([] if isinstance(messages[0], Snapshot) else self.stream), *messages]
