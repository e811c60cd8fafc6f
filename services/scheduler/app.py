"""The scheduler's wiring: one lease, and under it the intake, the decision loop and all that feeds them."""

from __future__ import annotations

import anyio

from services.scheduler import heap
from services.scheduler.answering import Planner
from services.scheduler.binding import PodBinding
from services.scheduler.core.engine import SchedulerState
from services.scheduler.core.values import Rules
from services.scheduler.deciding import Deciding
from services.scheduler.following import Following
from services.scheduler.gates import Gates
from services.scheduler.intake.advice import Advisor
from services.scheduler.intake.intake import Intake
from services.scheduler.intake.known import Known
from services.scheduler.metrics import SchedulerMetrics
from services.scheduler.normalise import workload_of
from services.scheduler.publishing import Epoch, Publisher, Sequences
from services.scheduler.restoring import Legacy
from services.scheduler.tidying import Tidying
from shared import workloads
from shared.backoff import Backoff, Retries
from shared.bus import Message
from shared.contracts.refs import ObjectRef
from shared.errors import LeaseLost, leaves
from shared.rejecting import reject
from shared.service import ServiceContext, root_tasks
from shared.settings import SchedulerSettings

LEASE = "scheduler"
AGAIN = Backoff(base=0.2, maximum=5.0)  # after a lost lease


async def run(context: ServiceContext) -> None:
    """Lead whenever the lease is held, else stand by; until cancelled. Raises Misconfigured."""
    workloads.install(context.settings.workload_kinds)
    metrics = SchedulerMetrics(context.metrics)
    leading: list[Leader] = []
    context.metrics.before_rendering(lambda: metrics.reserved_for(leading[0].reservation_ages() if leading else {}))
    legacy: Legacy | None = None
    lease = context.bus.lease(LEASE, ttl=context.settings.scheduler.lease_ttl)
    context.health.add_check(LEASE, lambda: bool(leading) and leading[0].ready, standby=lambda: lease.standing_by)
    retries = Retries(AGAIN)
    while True:
        context.metrics.clear_gauges()
        try:
            async with lease.held() as epoch:
                metrics.leading.set(1)
                context.log.info("this scheduler leads (epoch %d)", epoch)
                leading[:] = [Leader(context, metrics, epoch, legacy)]
                legacy = None
                await leading[0].run()
        except* LeaseLost as lost:
            context.log.warning("%s; it stands by", lost.exceptions[0])
            legacy = leading[0].legacy if leading else legacy
            lease.exceed(max(error.epoch for error in leaves(lost)))
            await anyio.sleep(retries.next_delay())
        finally:
            leading.clear()


def rules_of(settings: SchedulerSettings) -> Rules:
    return Rules(
        settings.rest_base, settings.rest_max, settings.elastic_deadline, settings.failback, settings.unknown_for
    )


class Leader:
    """All that works under one epoch of the lease. State is built anew from the streams each time."""

    def __init__(
        self, context: ServiceContext, metrics: SchedulerMetrics, lease: int, legacy: Legacy | None = None
    ) -> None:
        epoch = Epoch(lease)
        self._legacy = legacy
        self._created = ""
        bus, clock, settings = context.bus, context.clock, context.settings.scheduler
        self._bus = bus
        self._clock = clock
        self._metrics = metrics
        self._known = Known()
        self.state = SchedulerState(rules_of(settings), shapes=settings.shape_cache)
        sequences = Sequences()
        publisher = Publisher(
            bus, self.state, sequences, epoch=epoch, metrics=metrics, on_stored=lambda p: self._tidying.placed(p)
        )
        self._deciding = Deciding(self.state, clock, publisher, epoch=epoch, metrics=metrics)
        self._tidying = Tidying(bus, self.state, self._known, publisher, self._deciding)
        self._binding = PodBinding(
            bus, clock, epoch=epoch, metrics=metrics, ask=lambda member: self._following.ask_for_snapshot(member)
        )
        self._following = Following(
            bus, self.state, self._known, sequences, epoch, self._deciding, self._tidying, metrics, self._binding
        )
        self._intake = Intake(
            bus,
            clock,
            self._known,
            epoch=lease,
            on_stored=self._following.take,
            preserves=self._preserves,
            advise=Advisor(self._known, self._following.policies).advise,
            is_rolling=self.state.is_rolling,
            held_uid=lambda key: self.state.held_uid(key, epoch.value),
            held_in=self._held_in,
            has_revision=lambda uid, number: self._tidying.has_revision(uid, number),
            before=lambda desired: self.state.before(desired.ref.key, desired.uid, desired.revision),
            metrics=metrics,
        )
        self._gates = Gates(self.state, self._following.rollouts, clock, self._deciding.wake)
        self._planner = Planner(bus, clock, self.state, self._known, self._following.units)

    @property
    def legacy(self) -> Legacy | None:
        """For whoever leads next; None where this one never knew everything itself."""
        if not self._following.is_caught_up:
            return self._legacy
        wishes = tuple(entry.desired for entry in self._known)
        return Legacy(self._created, wishes, tuple(self.state.placements()))

    @property
    def ready(self) -> bool:
        """All that the streams held was taken in: decisions are being made, and requests answered."""
        return self._following.is_caught_up and self._intake.is_serving and self._planner.is_serving

    def reservation_ages(self) -> dict[str, float]:
        """Per member; of nobody before everything is known, such as what is bound."""
        return self.state.reservation_ages(self._clock.now()) if self._following.is_caught_up else {}

    async def run(self) -> None:
        self._created = await self._following.restoring.begin(self._legacy)
        await root_tasks(
            {
                "follow the streams": self._following.run,
                "follow revisions": self._tidying.follow_revisions,
                "work": self._work,
            }
        )

    async def _work(self) -> None:
        """Nothing is judged or decided before everything is known."""
        await self._following.caught_up()
        self._legacy = None
        with heap.mostly_state():
            await root_tasks(
                {
                    "decide": self._deciding.run,
                    "take in": self._intake.run,
                    "plan": self._planner.run,
                    "rebalance": self._consume_rebalance,
                    "tidy": self._tidying.run,
                    "ask gates": self._gates.run,
                    "bind pods": self._binding.run,
                    "collect garbage": self._collect_garbage,
                }
            )

    async def _collect_garbage(self) -> None:
        await heap.collect_when_idle(self._deciding.idle)

    async def _consume_rebalance(self) -> None:
        await self._bus.consume(
            "REBALANCE",
            "scheduler-rebalance",
            self._following.rebalance,
            concurrency=16,
            on_poison=self._reject,
        )

    async def _reject(self, message: Message, error: Exception) -> None:
        await reject(self._bus, LEASE, message, error, self._clock.now())
        self._metrics.rejected("REBALANCE")

    def _held_in(self, member: str) -> int:
        """How many objects a member has a share of."""
        shares = (placement.share(member) for placement in self.state.placements())
        return sum(share is not None and share.present for share in shares)

    def _preserves(self, ref: ObjectRef) -> bool:
        """What the policy in force says, or the last one said: deleting a policy freezes what it placed, this too.
        Where there never was one nothing is kept, as people who delete expect."""
        desired = self._known.live(ref.key)
        if desired is None:
            return False
        policy = self._following.policies.match(workload_of(desired))
        if policy is not None:
            return policy.preserve
        placement = self.state.explain(ref.key)
        return placement is not None and placement.uid == desired.uid and placement.preserve
