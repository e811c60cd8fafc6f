"""Serverless instances: which one a pod would get on each virtual node, out of stock, quota and price.

A pod's instance is the first that it may have and that is in stock; it takes its size of the node's quota, not what the
pod asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.scheduler.core.constraints import LabelSelector
from services.scheduler.core.inside.nodes import Amounts, Nodes
from shared.contracts.capacity import Surroundings
from shared.eci import SPOT_PRICE_LIMIT, SPOT_STRATEGY, Prices, Spec, candidates, chosen, wants_spot
from shared.quantities import show
from shared.units import ECI_LABEL, asks_for_eci


@dataclass(frozen=True, slots=True)
class Wish:
    """A pod asks for ECI, by label or by a profile. What the profile adds to it."""

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sale:
    """What one virtual node sells now. stock: instances left by name, less what was promised; None for unknown."""

    stock: Mapping[str, int | None] = field(default_factory=dict)
    prices: Prices = field(default_factory=Prices)
    types: Mapping[str, Spec] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Offer:
    """An instance on the virtual node at this row. choice: the how manyth of those that the pod may have."""

    row: int
    spec: Spec
    choice: int
    per_hour: float


@dataclass(frozen=True, slots=True)
class Profile:
    """What a profile selects: each selector where it is not None; and what it adds."""

    pods: LabelSelector | None
    namespaces: LabelSelector | None
    effect: Wish

    def matches(self, labels: Mapping[str, str], namespace: Mapping[str, str]) -> bool:
        """A profile without any selector selects nothing."""
        asked = [(s, has) for s, has in ((self.pods, labels), (self.namespaces, namespace)) if s is not None]
        return bool(asked) and all(selector.matches(has) for selector, has in asked)


def profiles_of(around: Surroundings) -> tuple[Profile, ...]:
    return tuple(
        Profile(
            LabelSelector.of(one.object_selector) if one.object_selector is not None else None,
            LabelSelector.of(one.namespace_selector) if one.namespace_selector is not None else None,
            Wish(one.labels, one.annotations),
        )
        for one in around.profiles
    )


def wish_of(
    labels: Mapping[str, str], namespace: str, around: Surroundings, profiles: Iterable[Profile]
) -> Wish | None:
    """Whether a new pod is to run on ECI whatever else it says; its own "false" wins over everything."""
    name, value = ECI_LABEL
    if asks_for_eci(labels, around.labels_of(namespace)):
        return Wish()
    if name in labels and labels[name] != value:
        return None
    of_namespace = around.labels_of(namespace) if profiles else {}
    return next((profile.effect for profile in profiles if profile.matches(labels, of_namespace)), None)


def taken(requests: Amounts, spec: Spec) -> Amounts:
    """What a pod takes of a virtual node's quota."""
    return tuple(sorted(spec.takes(dict(requests)).items()))


def offers(
    nodes: Nodes, rows: Iterable[int], sales: Mapping[str, Sale], requests: Amounts, annotations: Mapping[str, str]
) -> tuple[list[Offer], list[tuple[str, str]]]:
    """The best instance on each of these virtual nodes that has one; and (code, sentence) for each that has not."""
    found: list[Offer] = []
    refused: list[tuple[str, str]] = []
    for row in rows:
        sale = sales.get(nodes.names[row], Sale())
        offer = _offer(nodes, row, sale, requests, annotations)
        if isinstance(offer, Offer):
            found.append(offer)
        else:
            refused.append(offer)
    return found, refused


def _offer(
    nodes: Nodes, row: int, sale: Sale, requests: Amounts, annotations: Mapping[str, str]
) -> Offer | tuple[str, str]:
    try:
        specs = candidates(dict(requests), annotations, sale.types)
    except ValueError as error:
        return "BadInstanceSpec", str(error)
    if not specs:
        return "NoInstance", "no size of ECI, and no specification that the pod lists, holds what it asks for"
    in_stock = list(chosen(specs, sale.stock))
    if not in_stock:
        return "NoStock", f"{', '.join(spec.name for spec in specs)} {'are' if len(specs) > 1 else 'is'} out of stock"
    limit, spot = _limit(annotations), wants_spot(annotations)
    refusal = ("", "")
    for spec in in_stock:
        per_hour = sale.prices.hourly(spec, spot=spot)
        lack = _lack(nodes, row, taken(requests, spec))
        if limit is not None and per_hour > limit:
            refusal = (
                "SpotPriceLimit",
                f"a spot {spec.name} costs {per_hour:g} per hour, above the limit of {limit:g}",
            )
        elif lack is not None:
            refusal = ("QuotaExceeded", f"{spec.name}: {lack}")
        else:
            return Offer(row, spec, specs.index(spec), per_hour)
    return refusal


def _lack(nodes: Nodes, row: int, amounts: Amounts) -> str | None:
    """What the quota lacks. A resource that the node does not name is bounded by the instance alone."""
    for resource, amount in amounts:
        column = nodes.columns.get(resource)
        if column is None or not nodes.total[column, row]:
            if resource in ("cpu", "memory", "pods"):
                return f"the quota names no {resource}"
            continue
        left = int(nodes.avail[column, row])
        if left < amount:
            return f"{show(resource, max(0, left))} {resource} of the quota left, needs {show(resource, amount)}"
    return None


def _limit(annotations: Mapping[str, str]) -> float | None:
    """The price limit of a spot instance; one that is no number counts as none, as the instance's seller has it."""
    if annotations.get(SPOT_STRATEGY) != "SpotWithPriceLimit":
        return None
    try:
        return float(annotations[SPOT_PRICE_LIMIT])
    except (KeyError, ValueError):
        return None
