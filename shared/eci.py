"""ECI: sizes of serverless instances, the annotations that choose one, and what one costs.

Facts of Alibaba Cloud's documentation of Elastic Container Instance: requests round up to a size of the table;
a pod that asks for nothing gets 2 vCPU and 4 GiB; `eci-use-specs` lists up to five sizes or instance types, of which
the first with stock is taken and written back; billing is per second on the rounded size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from shared.quantities import amount

USE_SPECS: Final = "k8s.aliyun.com/eci-use-specs"
INSTANCE_SPEC: Final = "k8s.aliyun.com/eci-instance-spec"  # written back: what was chosen
SPOT_STRATEGY: Final = "k8s.aliyun.com/eci-spot-strategy"
SPOT_PRICE_LIMIT: Final = "k8s.aliyun.com/eci-spot-price-limit"
SPOT_STRATEGIES: Final = frozenset({"SpotAsPriceGo", "SpotWithPriceLimit"})
SCHEDULE_STRATEGY: Final = "k8s.aliyun.com/eci-schedule-strategy"
FAIL_ON_CREATE_ERROR: Final = "k8s.aliyun.com/pod-fail-on-create-err"
PROFILE: Final = ("kube-system", "eci-profile")  # the ConfigMap of selectors
STOCK: Final = ("kube-system", "eci-inventory-status")  # the ConfigMap that says which sizes are sold out

MAX_SPECS: Final = 5
MAX_CONTAINERS: Final = 20
SPOT_PROTECTION: Final = 3600.0  # seconds in which a spot instance is not taken back
SPOT_NOTICE: Final = 180.0  # seconds between the event SpotToBeReleased and the release
GIB: Final = 1024**3

# vCPU in millicores → GiB.
SIZES: Final[Mapping[int, tuple[float, ...]]] = {
    250: (0.5, 1),
    500: (1, 2),
    1000: (2, 4, 8),
    2000: (1, 2, 4, 8, 16),
    4000: (2, 4, 8, 16, 32),
    8000: (4, 8, 16, 32, 64),
    12000: (12, 24, 48, 96),
    16000: (16, 32, 64, 128),
    24000: (24, 48, 96, 192),
    32000: (32, 64, 128, 256),
    52000: (96, 192, 384),
    64000: (128, 256, 512),
}

GPU: Final = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True)
class Spec:
    """One instance that can be had: a size ("2-4Gi"), or an instance type ("ecs.gn5-c4g1.xlarge") with its GPUs.

    cpu: millicores. memory: bytes.
    """

    name: str
    cpu: int
    memory: int
    gpus: int = 0
    gpu_model: str = ""

    @property
    def is_type(self) -> bool:
        return self.name.startswith("ecs.")

    def holds(self, requests: Mapping[str, int]) -> bool:
        """Whether a pod with these requests (base units) fits in."""
        return (
            requests.get("cpu", 0) <= self.cpu
            and requests.get("memory", 0) <= self.memory
            and requests.get(GPU, 0) <= self.gpus
        )

    def takes(self, requests: Mapping[str, int]) -> dict[str, int]:
        """What a pod takes of a virtual node's quota: its instance's size rather than what it asked for."""
        gpus = max(self.gpus, requests.get(GPU, 0))
        return {**requests, "cpu": self.cpu, "memory": self.memory} | ({GPU: gpus} if gpus else {})


def size(cpu: int, gib: float) -> Spec:
    """A size of the table. cpu: millicores."""
    return Spec(f"{cpu / 1000:g}-{gib:g}Gi", cpu, int(gib * GIB))


ALL_SIZES: Final[tuple[Spec, ...]] = tuple(size(cpu, gib) for cpu, memories in SIZES.items() for gib in memories)
DEFAULT_SIZE: Final = size(2000, 4)


def _type(name: str, cpu: int, gib: float, gpus: int = 0, model: str = "") -> Spec:
    return Spec(name, cpu * 1000, int(gib * GIB), gpus, model)


# Instance types that ECI creates by name. Others can be added in the fleet file.
TYPES: Final[Mapping[str, Spec]] = {
    spec.name: spec
    for spec in (
        _type("ecs.c6.large", 2, 4),
        _type("ecs.c6.xlarge", 4, 8),
        _type("ecs.c6.2xlarge", 8, 16),
        _type("ecs.g6.large", 2, 8),
        _type("ecs.g6.xlarge", 4, 16),
        _type("ecs.g6.2xlarge", 8, 32),
        _type("ecs.r6.xlarge", 4, 32),
        _type("ecs.c7.xlarge", 4, 8),
        _type("ecs.g7.xlarge", 4, 16),
        _type("ecs.gn5-c4g1.xlarge", 4, 30, 1, "P100"),
        _type("ecs.gn5-c8g1.2xlarge", 8, 60, 1, "P100"),
        _type("ecs.gn6i-c4g1.xlarge", 4, 15, 1, "T4"),
        _type("ecs.gn6i-c8g1.2xlarge", 8, 31, 1, "T4"),
        _type("ecs.gn6i-c24g1.12xlarge", 48, 186, 2, "T4"),
        _type("ecs.gn6v-c8g1.2xlarge", 8, 32, 1, "V100"),
        _type("ecs.gn6v-c8g1.8xlarge", 32, 128, 4, "V100"),
        _type("ecs.gn7i-c8g1.2xlarge", 8, 30, 1, "A10"),
        _type("ecs.gn7i-c32g1.32xlarge", 128, 752, 4, "A10"),
    )
}

_SIZE = re.compile(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)(Gi)?")


def round_up(requests: Mapping[str, int]) -> Spec | None:
    """The smallest size of the table that holds the requests; None where none does, or a device is asked for.

    Smallest is by vCPU, then by memory, as ECI rounds.
    """
    if any(value and name not in ("cpu", "memory", "pods", "ephemeral-storage") for name, value in requests.items()):
        return None
    if not requests.get("cpu") and not requests.get("memory"):
        return DEFAULT_SIZE
    return next((spec for spec in ALL_SIZES if spec.holds(requests)), None)


def spec_named(name: str, more: Mapping[str, Spec] = MappingProxyType({})) -> Spec:
    """A size ("2-4Gi") or instance type by name. more: instance types beside the known ones, by name.

    Raises ValueError with a sentence where there is none.
    """
    if name.startswith("ecs."):
        found = more.get(name) or TYPES.get(name)
        if found is None:
            raise ValueError(f"{name!r} is no instance type that brim knows")
        return found
    match = _SIZE.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is neither a size such as 2-4Gi nor an instance type such as ecs.c6.xlarge")
    cpu, gib = amount("cpu", match[1]), float(match[2])
    if gib not in SIZES.get(cpu, ()):
        raise ValueError(f"{name!r} is no size of ECI")
    return size(cpu, gib)


def specs_of(annotations: Mapping[str, str], more: Mapping[str, Spec] = MappingProxyType({})) -> tuple[Spec, ...]:
    """What `eci-use-specs` lists, in its order; empty without it. more: as for `spec_named`.

    Raises ValueError with a sentence.
    """
    text = annotations.get(USE_SPECS, "").strip()
    if not text:
        return ()
    named = [part.strip() for part in text.split(",")]
    if len(named) > MAX_SPECS:
        raise ValueError(f"{USE_SPECS} lists {len(named)} specifications; at most {MAX_SPECS} are allowed")
    return tuple(spec_named(part, more) for part in named)


def candidates(
    requests: Mapping[str, int], annotations: Mapping[str, str], more: Mapping[str, Spec] = MappingProxyType({})
) -> tuple[Spec, ...]:
    """Instances that may run a pod, the preferred first: those it lists that hold it, else its size rounded up.

    more: as for `spec_named`. Raises ValueError with a sentence where a listed one does not exist.
    """
    listed = specs_of(annotations, more)
    if listed:
        return tuple(spec for spec in listed if spec.holds(requests))
    rounded = round_up(requests)
    return (rounded,) if rounded else ()


@dataclass(frozen=True, slots=True)
class Prices:
    """Per hour, in the fleet's one currency. types: by instance type. spot: what a spot instance costs, as a share."""

    vcpu: float = 0.0
    gib: float = 0.0
    types: Mapping[str, float] = field(default_factory=dict)
    spot: float = 1.0

    def hourly(self, spec: Spec, *, spot: bool = False) -> float:
        """What one instance costs per hour: its type's price, or vCPU × price + GiB × price on the rounded size."""
        known = self.types.get(spec.name)
        full = known if known is not None else spec.cpu / 1000 * self.vcpu + spec.memory / GIB * self.gib
        return full * self.spot if spot else full


def wants_spot(annotations: Mapping[str, str]) -> bool:
    return annotations.get(SPOT_STRATEGY) in SPOT_STRATEGIES


def chosen(specs: tuple[Spec, ...], stock: Mapping[str, int | None]) -> Iterator[Spec]:
    """Those that are in stock, in order. stock: instances left by name; None or absent is "some"."""
    for spec in specs:
        left = stock.get(spec.name)
        if left is None or left > 0:
            yield spec
