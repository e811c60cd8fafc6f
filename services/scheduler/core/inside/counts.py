"""What is counted over one member's pods: neighbours, priorities, host ports, units, spending, promised instances, and
who was told to go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from services.scheduler.core.inside.budgets import Kept
from services.scheduler.core.inside.neighbours import Neighbours
from services.scheduler.core.inside.nodes import Nodes
from services.scheduler.core.inside.policies import ResourcePolicies
from services.scheduler.core.inside.ranks import Ranks
from services.scheduler.core.inside.records import LEAVING, Seat
from services.scheduler.core.inside.units import Tally
from services.scheduler.core.inside.values import HostPort, Labels, Owner, ResourcePolicy

_NOTHING = 1e-9  # a sum of prices below this is none: they are decimal numbers in binary


class Counts:
    """seats: all that count now. policies: of the whole fleet."""

    def __init__(self, nodes: Nodes, policies: ResourcePolicies, seats: Callable[[], Iterable[Seat]]) -> None:
        self.neighbours = Neighbours(lambda: ((seat, seat.row) for seat in seats()), lambda: nodes.top)
        self.ranks = Ranks(nodes)
        self.promised: Counter[tuple[str, str]] = Counter()  # (virtual node, size) → instances not seen yet
        self.going: Counter[tuple[str, Labels]] = Counter()  # (namespace, labels) → told to go, which does not show yet
        self.kept = Kept(nodes, seats)
        self._policies = policies
        self._ports: dict[int, Counter[HostPort]] = {}
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._spending: dict[Owner, float] = {}

    def count(self, seat: Seat, sign: int) -> None:
        """One pod more, or less."""
        self.neighbours.count(seat, seat.row, sign)
        self.ranks.count(seat.priority, seat.row, seat.needs.shape.requests, sign)
        for port in seat.needs.ports:
            self._count_port(seat.row, port, sign)
        if seat.entry is not None and seat.policy is not None:
            policy = self._policies.get(seat.policy)
            tally = self.tally(policy) if policy is not None else self._tallies[seat.policy]
            tally.count(seat.entry, sign)
        if seat.per_hour:
            spent = self._spending.get(seat.owner, 0.0) + sign * seat.per_hour
            self._spending[seat.owner] = spent
            if abs(spent) < _NOTHING:
                del self._spending[seat.owner]
        self.kept.count(seat, sign)
        if seat.priority == LEAVING and not seat.leaving:
            self.going[seat.namespace, seat.labels] += sign
            if not self.going[seat.namespace, seat.labels]:
                del self.going[seat.namespace, seat.labels]
        if seat.instance is not None:
            self.promised[seat.instance] += sign
            if not self.promised[seat.instance]:
                del self.promised[seat.instance]

    def _count_port(self, row: int, port: HostPort, sign: int) -> None:
        here = self._ports.setdefault(row, Counter())
        here[port] += sign
        if not here[port]:
            del here[port]
        if not here:
            del self._ports[row]

    def forget_tallies(self, namespace: str) -> None:
        """Its policies are others now; nobody may count in one of them at this moment."""
        self._tallies = {key: tally for key, tally in self._tallies.items() if key[0] != namespace}

    # -- reading ---------------------------------------------------------------------------------------------

    def tally(self, policy: ResourcePolicy) -> Tally:
        """What runs in the policy's units."""
        found = self._tallies.get(policy.key)
        if found is None:
            found = self._tallies[policy.key] = Tally(policy)
        return found

    def ports(self) -> dict[int, Counter[HostPort]]:
        """Host ports in use, by row."""
        return self._ports

    def spending(self, owner: Owner) -> float:
        """What this workload's pods cost here per hour on elastic and virtual room."""
        return self._spending.get(owner, 0.0)
