"""What elastic and virtual replicas cost per hour, and ceilings for it.

An elastic replica pays its share of the cheapest node that its member could add for it: the share of the resource of
which it takes the most. It goes on paying once that node is there. A virtual one pays its instance. What is placed on
nodes that are there anyway costs nothing here.
"""

from __future__ import annotations

import numpy as np

from services.scheduler.core.division import Ints
from services.scheduler.core.drafts import Case, Draft
from services.scheduler.core.nodes import ELASTIC, FREE, VIRTUAL_ROOM
from services.scheduler.core.values import PODS, Shape, UnitRoom
from shared.contracts.capacity import Pool, VirtualStock
from shared.eci import Prices, chosen
from shared.pod_requests import dominant_share

CEILING = "CostCeiling"
_SLACK = 1e-9  # prices are decimal numbers in binary


def pool_price(shape: Shape, pools: list[Pool]) -> float:
    """Per replica and hour, on the cheapest of these pools that holds one; 0 where none says a price."""
    found = [
        pool.price * dominant_share(dict(shape.requests), pool.allocatable)
        for pool in pools
        if pool.price is not None and _holds(pool, shape)
    ]
    return min(found, default=0.0)


def _holds(pool: Pool, shape: Shape) -> bool:
    """By amounts alone; pod slots count where the pool names them."""
    return all(pool.allocatable.get(name, amount * (name == PODS)) >= amount for name, amount in shape.requests)


def instance_price(unit: UnitRoom, stocks: tuple[VirtualStock, ...]) -> float:
    """Per replica and hour: the first instance in stock, where it is cheapest; 0 where none says a price."""
    found = []
    for stock in stocks:
        spec = next(chosen(unit.specs, stock.stock), None)
        if spec is not None:
            prices = Prices(stock.vcpu, stock.gib, stock.types, stock.spot)
            found.append(prices.hourly(spec, spot=unit.spot))
    return min(found, default=0.0)


def settle(case: Case) -> None:
    """What every share costs, at the prices now."""
    for draft in case.drafts.values():
        draft.per_hour = round(_burns(case, draft), 6) if draft.present else 0.0


def _burns(case: Case, draft: Draft) -> float:
    total = 0.0
    for kind, count in ((ELASTIC, draft.elastic + draft.added), (VIRTUAL_ROOM, draft.virtual)):
        if count:
            total += count * _price(case, draft.member, kind)
    return total


def _price(case: Case, member: str, kind: int) -> float:
    """Of one replica on elastic or virtual room there."""
    known = case.prices.get((member, kind))
    if known is None:
        known = case.prices[member, kind] = _price_now(case, member, kind)
    return known


def _price_now(case: Case, member: str, kind: int) -> float:
    if kind == ELASTIC:
        return pool_price(case.shape, case.room.pools(member))
    unit = next((unit for unit in case.workload.units if unit.unit == "eci"), None)
    return instance_price(unit, case.room.selling(member)) if unit is not None else 0.0


def affordable(case: Case, names: tuple[str, ...], room: Ints, kind: int, count: int) -> Ints:
    """The room for `count` more as far as the ceiling allows, the cheapest members first."""
    ceiling = case.ceiling
    if kind == FREE or ceiling is None or not room.any():
        return room
    left = ceiling - sum(_burns(case, draft) for draft in case.drafts.values() if draft.present)
    prices = [_price(case, name, kind) for name in names]
    result = np.minimum(room, count)
    for position in sorted(range(len(names)), key=prices.__getitem__):
        if prices[position] > 0:
            result[position] = min(int(result[position]), max(0, int((left + _SLACK) / prices[position])))
            left -= int(result[position]) * prices[position]
    if result.sum() < min(count, int(room.sum())):
        said = f"elastic and virtual room may cost {ceiling:g} per hour at most: more replicas would cost more"
        case.because(CEILING, said)
    return result
