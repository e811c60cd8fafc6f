"""The message bus: the one part of brim that knows NATS.

    async with Bus.connect(settings.bus, name="scheduler") as bus:
        await bus.ensure_streams()
        sequence = await bus.publish(subject, payload, expected_last_sequence=last)

- `publish`, `publish_batch`, `remove`: store; fenced, all or nothing, as a tombstone.
- `consume`, `consume_batches`: work, at least once, with retries and poison handling.
- `view`: the newest message per subject, live. `follow`: every message in order.
- `request`, `serve`: ask and answer; errors cross the wire as what they are.
- `lease`: who leads, with an epoch that only grows.
"""

from shared.bus.bus import BatchHandler, Bus, Handler, PoisonHandler
from shared.bus.follow import Follower
from shared.bus.jetstream import ConsumerInfo, StreamInfo
from shared.bus.lease import Lease
from shared.bus.message import Change, Message
from shared.bus.streams import KEEPER, STREAMS, StreamSpec
from shared.bus.view import View
from shared.settings import BusSettings

__all__ = [
    "KEEPER",
    "STREAMS",
    "BatchHandler",
    "Bus",
    "BusSettings",
    "Change",
    "ConsumerInfo",
    "Follower",
    "Handler",
    "Lease",
    "Message",
    "PoisonHandler",
    "StreamInfo",
    "StreamSpec",
    "View",
]
