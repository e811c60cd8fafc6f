"""A Rollout's style and steps, and how many pods a step is about. Sizes round up, as Kruise's do."""

from __future__ import annotations

import re
from typing import Final, Literal

from simulator.kruise import marks
from simulator.objects import Object

Style = Literal["partition", "extra", "blueGreen"]

_PERCENT: Final = re.compile(r"(\d+)%")
_MANY: Final = 10_000_000
BLUE_GREEN: Final = frozenset({marks.DEPLOYMENTS, marks.CLONESETS})  # Kruise can do no others in that style


def style_of(rollout: Object) -> Style:
    """An extra workload is for Deployments alone; Kruise rolls out every other kind in partitions whatever it says."""
    strategy = rollout["spec"].get("strategy") or {}
    if "blueGreen" in strategy:
        return "blueGreen"
    extra = (strategy.get("canary") or {}).get("enableExtraWorkloadForCanary")
    return "extra" if extra and marks.shelf_of(rollout) == marks.DEPLOYMENTS else "partition"


def written(rollout: Object) -> Object:
    """spec.strategy.canary or spec.strategy.blueGreen."""
    strategy = rollout["spec"].get("strategy") or {}
    return strategy.get("blueGreen") or strategy.get("canary") or {}


def steps_of(rollout: Object) -> list[Object]:
    return written(rollout).get("steps") or [{"replicas": "100%"}]


def batch_size(replicas: int | str, total: int) -> int:
    """Pods of the new template after a step: rounded up; a percentage below 100 % leaves one old of several."""
    size = whole_size(replicas, total)
    return min(size, total - 1) if _is_part(replicas) and total > 1 else size


def whole_size(replicas: int | str, total: int) -> int:
    """Pods beside the old ones: rounded up, and never more than there are of those."""
    match = _PERCENT.fullmatch(str(replicas))
    size = int(replicas) if match is None else -(-int(match[1]) * total // 100)
    return max(0, min(size, total))


def reaches(before: int | str, replicas: int | str) -> bool:
    """Whether a Deployment has such a batch already, as Kruise compares them: of very many pods, so that any share is
    more than a count, and a count after a share is never come to."""
    return whole_size(before, _MANY) >= whole_size(replicas, _MANY)


def _is_part(replicas: int | str) -> bool:
    match = _PERCENT.fullmatch(str(replicas))
    return match is not None and match[1] != "100"


def passes_by_itself(style: Style, step: Object, *, last: bool) -> bool:
    """A canary's last step does where it says 100 %; in blue-green the switch always waits for somebody."""
    return last and style != "blueGreen" and step.get("replicas") == "100%"


def tolerated(rollout: Object, updated: int) -> int:
    """Pods of a batch that need not be ready."""
    threshold = written(rollout).get("failureThreshold")
    if threshold is None:
        return 0
    match = _PERCENT.fullmatch(str(threshold))
    return int(threshold) if match is None else -(-int(match[1]) * updated // 100)


def traffic_of(rollout: Object, step: Object) -> str:
    """A step's traffic in words, empty for one that routes none."""
    services = [str(one.get("service", "")) for one in written(rollout).get("trafficRoutings") or ()]
    if not services or not (step.get("traffic") or step.get("matches")):
        return ""
    share = f"{step['traffic']} of the traffic" if step.get("traffic") else "the traffic that matches"
    return f"{share} of service {', '.join(services)} goes to the new version"
