"""REJECTED: a message that no redelivery can mend, told to people in the words that a request would have got."""

from __future__ import annotations

from shared.bus import Bus, Message
from shared.contracts import subjects
from shared.contracts.outcome import FieldFault, Rejected
from shared.errors import Fault, Invalid


async def reject(bus: Bus, service: str, message: Message, error: Exception, now: float) -> None:
    """Publish it. Raises BusUnavailable: then the message is to come again."""
    faults = error.faults if isinstance(error, Invalid) else (Fault("the message", "", str(error)),)
    rejected = Rejected(
        service=service,
        subject=message.subject,
        sequence=message.sequence,
        at=now,
        faults=tuple(FieldFault.of(fault) for fault in faults),
    )
    await bus.publish(subjects.rejected(service), rejected.encode(), event=Rejected.TYPE)
