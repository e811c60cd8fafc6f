"""In blue-green style: the new version's pods beside all of the old ones, and the workload's own settings given back.

Kruise takes over three settings. maxSurge says how many new pods there are. With no unavailable pod allowed, and a time
to become available that never ends, the workload's controller takes no old pod away whatever it sees.
"""

from __future__ import annotations

import json
from typing import Any, Final

from simulator import objects
from simulator.kruise import marks
from simulator.objects import Object

NEVER: Final = 2**31 - 2  # seconds until a pod counts as available
_DEADLINE: Final = 2**31 - 1


def held(shelf: str, workload: Object, surge: int | str) -> Object:
    """surge: of the step, as it is written."""
    annotations = objects.annotations(workload)
    original = annotations.get(marks.ORIGINAL) or json.dumps(_original(shelf, workload), sort_keys=True)
    new = objects.with_annotations(workload, **{marks.ORIGINAL: original})
    new = objects.with_spec(new, minReadySeconds=NEVER)
    if shelf == marks.DEPLOYMENTS:
        rolling = {"maxSurge": surge, "maxUnavailable": 0}
        new = objects.with_spec(
            new,
            paused=False,
            progressDeadlineSeconds=_DEADLINE,
            strategy={"type": "RollingUpdate", "rollingUpdate": rolling},
        )
    else:
        bounds = {"maxSurge": surge, "maxUnavailable": 0, "partition": 0, "paused": False}
        new = objects.with_spec(new, updateStrategy={**(workload["spec"].get("updateStrategy") or {}), **bounds})
    return marks.with_generation(new, workload)


def released(shelf: str, workload: Object) -> Object:
    """As it was before, and without marks: its controller takes away what is not of its template."""
    original = _read(objects.annotations(workload).get(marks.ORIGINAL))
    new = marks.without_marks(workload)
    spec = dict(new["spec"])
    if original:
        spec.pop("minReadySeconds", None)
        if original.get("minReadySeconds"):
            spec["minReadySeconds"] = original["minReadySeconds"]
    bounds = {key: original[key] for key in ("maxSurge", "maxUnavailable") if key in original}
    if shelf == marks.DEPLOYMENTS:
        spec.pop("paused", None)
        if original:
            spec["progressDeadlineSeconds"] = original.get("progressDeadlineSeconds", 600)
            spec["strategy"] = {"type": "RollingUpdate", "rollingUpdate": bounds}
    else:
        spec["updateStrategy"] = {**(spec.get("updateStrategy") or {}), **bounds, "partition": 0, "paused": False}
    return marks.with_generation({**new, "spec": spec}, workload)


def _original(shelf: str, workload: Object) -> Object:
    spec = workload["spec"]
    if shelf == marks.DEPLOYMENTS:
        rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
        return {
            "maxSurge": rolling.get("maxSurge", "25%"),
            "maxUnavailable": rolling.get("maxUnavailable", "25%"),
            "minReadySeconds": spec.get("minReadySeconds", 0),
            "progressDeadlineSeconds": spec.get("progressDeadlineSeconds", 600),
        }
    strategy = spec.get("updateStrategy") or {}
    return {
        "maxSurge": strategy.get("maxSurge", 0),
        "maxUnavailable": strategy.get("maxUnavailable", "20%"),
        "minReadySeconds": spec.get("minReadySeconds", 0),
    }


def _read(text: str | None) -> dict[str, Any]:
    """Empty for what nobody took over, or cannot be read."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
