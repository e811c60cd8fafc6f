"""Virtual nodes: which instance runs a pod, and what that takes of the node's quota."""

from __future__ import annotations

from collections.abc import Mapping

from shared.contracts.capacity import VirtualStock
from shared.eci import INSTANCE_SPEC, Spec, candidates, chosen, spec_named


def instance_of(
    requests: Mapping[str, int], annotations: Mapping[str, str], size: str, sold: VirtualStock
) -> Spec | None:
    """The instance that a pod has, or will have. size: what the member says of it, empty while it says nothing.

    That, else what was written back, else the first that it may have and that is in stock: so that an instance which
    is only being created counts already. None where no instance holds the pod.
    """
    types = sold.own_types
    for name in (size, annotations.get(INSTANCE_SPEC, "")):
        if name and (spec := _named(name, types)) is not None:
            return spec
    try:
        specs = candidates(requests, annotations, types)
    except ValueError:
        return None
    return next(chosen(specs, sold.stock), None) or next(iter(specs), None)


def takes(requests: Mapping[str, int], spec: Spec | None) -> Mapping[str, int]:
    """What a pod takes of a virtual node's room: its instance's size rather than what it asked for."""
    return requests if spec is None else spec.takes(requests)


def hourly(spec_name: str, spot: bool, sold: VirtualStock) -> float:
    """What an instance costs per hour; 0 for one of an unknown name without a price of its own."""
    spec = _named(spec_name, sold.own_types) or Spec(spec_name, 0, 0)
    return sold.prices.hourly(spec, spot=spot)


def _named(name: str, types: Mapping[str, Spec]) -> Spec | None:
    try:
        return spec_named(name, types)
    except ValueError:
        return None
