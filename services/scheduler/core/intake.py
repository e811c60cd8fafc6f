"""A member's capacity messages in order: which apply, which are old, and where one is missing."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.contracts.capacity import Delta, Heartbeat, Snapshot


@dataclass(slots=True)
class Feed:
    """(epoch, number) is what is applied. synced: nothing is known to be missing."""

    epoch: int = -1
    number: int = -1
    synced: bool = False
    lost: bool = False
    silent: bool = False
    observed_at: float = 0.0
    chunks: list[Snapshot] = field(default_factory=list)

    def snapshot(self, message: Snapshot) -> list[Snapshot] | None:
        """All chunks once they are complete, in order; None while they are not, or when this is old."""
        if (message.epoch, message.number) < (self.epoch, self.number):
            return None
        if message.chunk == 0:
            self.chunks = [message]
        elif self._continues(message):
            self.chunks.append(message)
        else:  # the middle of a snapshot whose beginning was missed, or a chunk a second time
            return None
        if len(self.chunks) < message.chunks:
            return None
        chunks, self.chunks = self.chunks, []
        self.epoch, self.number, self.synced = message.epoch, message.number, True
        self.observed_at = message.observed_at
        return chunks

    def _continues(self, message: Snapshot) -> bool:
        return bool(self.chunks) and (
            (message.epoch, message.number, message.chunk)
            == (self.chunks[0].epoch, self.chunks[0].number, len(self.chunks))
        )

    def delta(self, message: Delta) -> bool:
        """Whether it is the next one. False: it is old (still synced), or something is missing (no longer)."""
        if message.epoch < self.epoch or (message.epoch == self.epoch and message.number <= self.number):
            return False
        self.chunks = []  # chunks come in one batch: a beginning that something else follows has lost its end
        if message.epoch == self.epoch and message.number == self.number + 1 and self.synced:
            self.number, self.observed_at = message.number, message.observed_at
            return True
        self.synced = False
        return False

    def heartbeat(self, message: Heartbeat) -> None:
        if (message.epoch, message.observed_at) < (self.epoch, self.observed_at):
            return
        self.chunks = []
        if message.epoch > self.epoch or message.number > self.number:
            self.synced = False
        self.observed_at = message.observed_at
        self.lost, self.silent = message.lost, message.silent
