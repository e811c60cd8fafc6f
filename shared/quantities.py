"""Kubernetes resource quantities, exact.

A quantity is a decimal number with a binary (Ki … Ei), decimal (n, u, m, k … E) or exponent (e3, E3) suffix.
Inside brim every amount is a whole number of the resource's base unit: CPU in millicores, everything else in
its own unit (bytes, devices, pods). Amounts round up where a request is finer than the base unit, as
Kubernetes' own `Value()` and `MilliValue()` do. Source of the rules: apimachinery's pkg/api/resource.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal, localcontext
from functools import lru_cache

_BINARY = {suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}
_DECIMAL = {
    "n": Decimal(10) ** -9,
    "u": Decimal(10) ** -6,
    "m": Decimal(10) ** -3,
    "": Decimal(1),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
}
_SCALES = _BINARY | _DECIMAL
_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d{1,3})|(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E)?)", re.A)
SHOWN = 60  # characters of what is no quantity, quoted in an error
_LARGEST = Decimal(2**63 - 1)


def parse(text: str | int | float) -> Decimal:
    """The exact value of a quantity in its own unit ("100m" → 0.1). Raises ValueError with a sentence."""
    match = _FORM.fullmatch(str(text)) if not isinstance(text, bool) else None
    if match is None:
        raise ValueError(f"{_shown(text)} is not a Kubernetes quantity such as 500m, 2 or 4Gi")
    number, exponent, suffix = match.groups()
    scale = Decimal(10) ** int(exponent) if exponent else _SCALES[suffix or ""]
    with localcontext() as context:
        context.prec = 80
        value = Decimal(number) * scale
    if abs(value) > _LARGEST:
        raise ValueError(f"{_shown(text)} is beyond 2^63-1, the largest quantity Kubernetes can hold")
    return value


def _shown(text: str | int | float) -> str:
    shown = repr(text)
    return shown if len(shown) <= SHOWN else shown[:SHOWN] + "…"


@lru_cache(maxsize=4096)
def _amount(resource: str, text: str) -> int:
    value = parse(text)
    if value < 0:
        raise ValueError(f"{resource} is {text!r}; a resource amount cannot be negative")
    scaled = value * 1000 if resource == "cpu" else value
    whole = int(scaled.to_integral_value(rounding=ROUND_CEILING))
    if whole > 2**63 - 1:
        raise ValueError(f"{resource} is {text!r}, beyond what Kubernetes can hold")
    return whole


def amount(resource: str, text: str | int | float) -> int:
    """Whole base units of a resource: millicores for cpu, else the resource's own unit, rounded up.

    Raises ValueError for what is no quantity, is negative, or does not fit 63 bits.
    """
    return _amount(resource, str(text))


def amounts(resources: dict[str, str | int | float]) -> dict[str, int]:
    """`amount` over a resource list such as a container's requests."""
    return {name: _amount(name, str(text)) for name, text in resources.items()}


def show(resource: str, whole: int) -> str:
    """A quantity a person can read, exact: 1500 millicores → "1500m", 2000 → "2"; 4294967296 bytes → "4Gi"."""
    if resource == "cpu":
        return str(whole // 1000) if whole % 1000 == 0 else f"{whole}m"
    if resource in ("memory", "ephemeral-storage") or resource.startswith("hugepages-"):
        for suffix in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
            unit = int(_BINARY[suffix])
            if whole and whole % unit == 0:
                return f"{whole // unit}{suffix}"
    return str(whole)
