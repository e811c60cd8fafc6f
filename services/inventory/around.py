"""What all members share."""

from __future__ import annotations

from dataclasses import dataclass

from services.inventory.kinds import Kinds
from services.inventory.metrics import InventoryMetrics
from services.inventory.policies import Policies
from shared.bus import Bus
from shared.clock import Clock
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Around:
    """epoch: of the lease."""

    bus: Bus
    clock: Clock
    settings: Settings
    metrics: InventoryMetrics
    kinds: Kinds
    policies: Policies
    epoch: int
