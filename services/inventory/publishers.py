"""All that is told of one member, and what was listed of it so far."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from anyio.abc import TaskGroup

from services.inventory.around import Around
from services.inventory.capacity_publisher import CapacityPublisher
from services.inventory.cost_publisher import CostPublisher
from services.inventory.mirror import Kind, Mirror
from services.inventory.pod_publisher import PodPublisher
from services.inventory.spending import Spending
from services.inventory.status_publisher import StatusPublisher
from shared.contracts.refs import ObjectRef


class Publishers:
    """exists: whether an object is still there; None where nobody can say now."""

    def __init__(self, around: Around, mirror: Mirror, exists: Callable[[ObjectRef], Awaitable[bool | None]]) -> None:
        bus, clock, settings, metrics = around.bus, around.clock, around.settings.inventory, around.metrics
        self._kinds = around.kinds
        self._mirror = mirror
        self._spending = Spending(mirror, clock.now)
        mirror.followers.append(self._spending)
        self.capacity = CapacityPublisher(bus, clock, settings, mirror, around.epoch, metrics)
        self._statuses = StatusPublisher(bus, clock, settings, mirror, metrics)
        self._pods = PodPublisher(bus, clock, settings, mirror, metrics)
        self._costs = CostPublisher(bus, clock, settings, self._spending, metrics, exists)

    async def take_over(self) -> None:
        """What the streams hold already."""
        await self._statuses.compare()
        await self._pods.compare()
        await self._costs.take_up()
        for status in self._statuses.told:
            self._kinds.add(status.ref)
        self._mirror.expected = {(kind.kind, kind.group) for kind in self._kinds.all}

    def start(self, group: TaskGroup) -> None:
        member = self._mirror.member
        group.start_soon(self.capacity.run, name=f"capacity {member}")
        group.start_soon(self._statuses.run, name=f"status {member}")
        group.start_soon(self._pods.run, name=f"pods {member}")
        group.start_soon(self._costs.run, name=f"costs {member}")
        group.start_soon(self._costs.sweep, name=f"owners of costs {member}")

    # -- what was listed -------------------------------------------------------------------------------------

    def kind_listed(self, kind: Kind) -> None:
        """What was told of its objects and is not there is gone."""
        self._statuses.recheck(lambda told: (told[0], told[1]) == kind)

    def nodes_listed(self) -> None:
        self._pods.recheck()
        self._spending.listed()

    def namespaces_listed(self) -> None:
        self._pods.recheck()

    def pods_listed(self) -> None:
        """Or instances: now it is known which of these have no pod."""
        self._mirror.told_pods.listed()
        self._pods.recheck()
        self._spending.listed()
