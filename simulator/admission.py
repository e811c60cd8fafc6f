"""What a member's admission does to a new pod, whoever creates it: its priority, and the wish to run on ECI.

Priority is Kubernetes' plugin of that name. The other rule is ACK's: a pod that is labelled for ECI, itself or by its
namespace, or that a selector of ConfigMap kube-system/eci-profile matches, goes to the scheduler that knows virtual
nodes. Both change the pod that they are given: hand them one that nobody else holds.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

from shared import eci, units
from simulator import objects, selectors, statuses
from simulator.objects import Object
from simulator.resources import built_in
from simulator.statuses import ApiError
from simulator.store import Store

logger = logging.getLogger(__name__)

PRIORITY_CLASSES = "priorityclasses.scheduling.k8s.io"
OWN_SCHEDULERS = (None, "", "default-scheduler")


def admit(store: Store, pod: Object) -> None:
    """Raises ApiError 403 for a pod whose priority cannot be what it says."""
    set_priority(store, pod)
    send_to_eci(store, pod)


# -- priority


def set_priority(store: Store, pod: Object) -> None:
    """spec.priority and preemptionPolicy from the pod's class, or from the class that is everyone's default."""
    spec = pod["spec"]
    found = _class_of(store, spec)
    if found is None and (wanted := spec.get("priorityClassName")):
        raise _forbidden(pod, f"no PriorityClass with name {wanted} was found")
    if found is not None:
        spec["priorityClassName"] = objects.name(found)
    priority = int((found or {}).get("value", 0))
    policy = (found or {}).get("preemptionPolicy", "PreemptLowerPriority")
    if spec.setdefault("priority", priority) != priority:
        raise _forbidden(
            pod,
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority admission "
            f"controller computed {priority} from the given PriorityClass name",
        )
    if spec.setdefault("preemptionPolicy", policy) != policy:
        raise _forbidden(
            pod,
            f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec; "
            f"priority admission controller computed {policy} from the given PriorityClass name",
        )


def _class_of(store: Store, spec: Object) -> Object | None:
    name = spec.get("priorityClassName")
    if name:
        return store.get(PRIORITY_CLASSES, "", name)
    defaults = [one for one in store.every(PRIORITY_CLASSES) if one.get("globalDefault")]
    return min(defaults, key=lambda one: (int(one.get("value", 0)), objects.name(one)), default=None)


def _forbidden(pod: Object, why: str) -> ApiError:
    return statuses.forbidden(built_in("pods"), objects.name(pod), why)


# -- ECI


def send_to_eci(store: Store, pod: Object) -> None:
    """Name the scheduler of virtual nodes for a pod that asks for ECI, and apply what its profile says.

    The pod's own labels and annotations win over a profile's; of two selectors that match, the first wins. Pods of
    DaemonSets belong to their nodes and are left alone, and so are pods that have a node already.
    """
    owner = objects.controller(pod)
    if pod["spec"].get("nodeName") or (owner is not None and owner["kind"] == "DaemonSet"):
        return
    namespace = store.get("namespaces", "", objects.namespace(pod))
    space = objects.labels(namespace) if namespace is not None else {}
    asks = units.asks_for_eci(objects.labels(pod), space)
    if not asks and objects.labels(pod).get(units.ECI_LABEL[0]) is not None:
        return
    effects = [entry.get("effect") or {} for entry in _profile(store) if _matches(entry, objects.labels(pod), space)]
    for key in ("labels", "annotations"):
        added = {name: value for effect in reversed(effects) for name, value in (effect.get(key) or {}).items()}
        if added:
            pod["metadata"][key] = {**added, **(pod["metadata"].get(key) or {})}
    if not asks and not effects:
        return
    # The wish stands on the pod from here on: whoever schedules it may not know its namespace's labels yet.
    pod["metadata"]["labels"] = {units.ECI_LABEL[0]: units.ECI_LABEL[1], **objects.labels(pod)}
    if pod["spec"].get("schedulerName") in OWN_SCHEDULERS:
        pod["spec"]["schedulerName"] = units.DEFAULT_SCHEDULER


def _profile(store: Store) -> Iterator[Object]:
    """The selectors of ConfigMap eci-profile; one that cannot be read counts as none."""
    found = store.get("configmaps", *eci.PROFILE)
    text = ((found or {}).get("data") or {}).get("selectors", "")
    try:
        entries: Any = json.loads(text) if text else []
    except ValueError as error:
        logger.warning("ConfigMap %s/%s: selectors is no JSON: %s", *eci.PROFILE, error)
        return
    yield from (entry for entry in entries if isinstance(entry, dict)) if isinstance(entries, list) else ()


def _matches(entry: Object, labels: dict[str, str], space: dict[str, str]) -> bool:
    """Whether each selector that the entry has matches; an entry without any matches nothing."""
    wanted = [(entry.get("objectSelector"), labels), (entry.get("namespaceSelector"), space)]
    wanted = [(selector, found) for selector, found in wanted if selector]
    return bool(wanted) and all(selectors.from_spec(selector).matches(found) for selector, found in wanted)
