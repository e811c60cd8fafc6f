"""The API server's refusals: what is wrong with an object, and what may not change once it exists.

Only rules that a client of this fleet can run into; each answers with Kubernetes' own wording.
"""

from __future__ import annotations

import re
from typing import Any

from shared import names, quantities
from simulator import selectors
from simulator.controllers.scale_in import DELETION_COST, is_deletion_cost
from simulator.objects import Object, encode
from simulator.resources import CONTAINER_GROUPS, Resource
from simulator.statuses import Cause

_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_LABEL_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
    "end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_NAME_IS_LABEL = frozenset({"Namespace", "Service"})
_NAME_IS_PATH = frozenset({"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"})
_PERCENT = re.compile(r"[0-9]+%")
_PERCENT_RULE = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
    "validation is '[0-9]+%')"
)
_IMMUTABLE = "field is immutable"


def _required(field: str, why: str = "") -> Cause:
    return Cause("FieldValueRequired", f"Required value{': ' + why if why else ''}", field)


def _bad(field: str, value: Any, why: str) -> Cause:
    shown = encode(value).decode() if not isinstance(value, str) else f'"{value}"'
    return Cause("FieldValueInvalid", f"Invalid value: {shown}: {why}", field)


def another_uid(uid: str) -> Cause:
    """What is wrong with a patch that names another object's uid."""
    return _bad("metadata.uid", uid, _IMMUTABLE)


def faults(resource: Resource, obj: Object) -> list[Cause]:
    """What is wrong with an object by itself."""
    found = [*_metadata(resource, obj["metadata"])]
    check = None if resource.custom else _CHECKS.get(resource.kind)
    if check is not None:
        found += check(obj.get("spec") or {})
    return found


def _metadata(resource: Resource, metadata: Object) -> list[Cause]:
    found = []
    name = metadata.get("name")
    if not isinstance(name, str) or not name:
        return [_required("metadata.name", "name or generateName is required")]
    if resource.kind not in _NAME_IS_PATH:
        is_label = resource.kind in _NAME_IS_LABEL
        try:
            (names.require_dns_label if is_label else names.require_dns_subdomain)(name)
        except ValueError:
            found.append(_bad("metadata.name", name, _LABEL_RULE if is_label else _SUBDOMAIN_RULE))
    for key, value in (metadata.get("labels") or {}).items():
        found += _label("metadata.labels", key, value)
    cost = (metadata.get("annotations") or {}).get(DELETION_COST)
    if resource.kind == "Pod" and cost is not None and not is_deletion_cost(cost):
        found.append(_bad(f"metadata.annotations[{DELETION_COST}]", cost, "must be a 32bit integer"))
    return found


def _label(field: str, key: str, value: Any) -> list[Cause]:
    found = []
    if not _LABEL_NAME.fullmatch(key.rpartition("/")[2]) or len(key.rpartition("/")[2]) > 63:
        found.append(_bad(field, key, "name part must consist of alphanumeric characters, '-', '_' or '.'"))
    if not isinstance(value, str) or len(value) > 63 or not _LABEL_VALUE.fullmatch(value):
        found.append(_bad(field, value, "a valid label must be an empty string or consist of alphanumeric characters"))
    return found


def _count(spec: Object, key: str) -> list[Cause]:
    value = spec.get(key)
    if value is None:
        return []
    if isinstance(value, bool) or not isinstance(value, int):
        return [_bad(f"spec.{key}", value, "must be an integer")]
    if value < 0:
        return [_bad(f"spec.{key}", value, "must be greater than or equal to 0")]
    return []


def _workload(spec: Object) -> list[Cause]:
    found = _count(spec, "replicas") + _count(spec, "minReadySeconds")
    selector, template = spec.get("selector"), spec.get("template")
    if not selector or not any(selector.values()):
        found.append(_required("spec.selector"))
    if not isinstance(template, dict):
        return [*found, _required("spec.template")]
    labels = (template.get("metadata") or {}).get("labels") or {}
    if selector and any(selector.values()) and not selectors.from_spec(selector).matches(labels):
        why = "`selector` does not match template `labels`"
        found.append(_bad("spec.template.metadata.labels", labels, why))
    found += _pod_spec(template.get("spec") or {}, "spec.template.spec")
    if (policy := template.get("spec", {}).get("restartPolicy")) not in ("Always", None):
        shown = 'supported values: "Always"'
        found.append(
            Cause(
                "FieldValueNotSupported",
                f'Unsupported value: "{policy}": {shown}',
                "spec.template.spec.restartPolicy",
            )
        )
    return found


def _deployment(spec: Object) -> list[Cause]:
    found = _workload(spec)
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate") or {}
    if rolling and strategy.get("type") == "Recreate":
        why = "Forbidden: may not be specified when strategy `type` is 'Recreate'"
        return [*found, Cause("FieldValueForbidden", why, "spec.strategy.rollingUpdate")]
    if rolling and all(str(rolling.get(key)).rstrip("%") == "0" for key in ("maxSurge", "maxUnavailable")):
        why = "may not be 0 when `maxSurge` is 0"
        found.append(_bad("spec.strategy.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], why))
    return found


def _job(spec: Object) -> list[Cause]:
    found = [cause for key in ("parallelism", "completions", "backoffLimit") for cause in _count(spec, key)]
    template = spec.get("template")
    if not isinstance(template, dict):
        return [*found, _required("spec.template")]
    inner = template.get("spec") or {}
    if inner.get("restartPolicy") not in ("OnFailure", "Never"):
        found.append(
            Cause(
                "FieldValueNotSupported",
                f'Unsupported value: "{inner.get("restartPolicy", "")}": supported values: "OnFailure", "Never"',
                "spec.template.spec.restartPolicy",
            )
        )
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        found.append(_required("spec.completions", "when completion mode is Indexed"))
    return found + _pod_spec(inner, "spec.template.spec")


def _pod_spec(spec: Object, at: str = "spec") -> list[Cause]:
    containers = spec.get("containers")
    if not containers:
        return [_required(f"{at}.containers")]
    found, seen = [], set()
    for index, container in enumerate(containers):
        here = f"{at}.containers[{index}]"
        if not container.get("name"):
            found.append(_required(f"{here}.name"))
        elif container["name"] in seen:
            found.append(Cause("FieldValueDuplicate", f'Duplicate value: "{container["name"]}"', f"{here}.name"))
        if not container.get("image"):
            found.append(_required(f"{here}.image"))
        seen.add(container.get("name"))
        for kind in ("requests", "limits"):
            for resource, amount in ((container.get("resources") or {}).get(kind) or {}).items():
                found += _quantity(f"{here}.resources.{kind}[{resource}]", amount)
    return found


def _quantity(field: str, amount: Any) -> list[Cause]:
    try:
        value = quantities.parse(amount)
    except ValueError:
        return [_bad(field, amount, "quantities must match the regular expression of a Kubernetes quantity")]
    return [_bad(field, str(amount), "must be greater than or equal to 0")] if value < 0 else []


def _service(spec: Object) -> list[Cause]:
    ports = spec.get("ports") or ()
    if not ports and spec.get("type") != "ExternalName" and spec.get("clusterIP") != "None":
        return [_required("spec.ports")]
    return [
        _bad(f"spec.ports[{index}].port", port.get("port"), "must be between 1 and 65535, inclusive")
        for index, port in enumerate(ports)
        if not isinstance(port.get("port"), int) or not 0 < port["port"] < 65536
    ]


def _budget(spec: Object) -> list[Cause]:
    bounds = {key: spec[key] for key in ("minAvailable", "maxUnavailable") if spec.get(key) is not None}
    found = []
    if len(bounds) > 1:
        found.append(_bad("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    for key, value in bounds.items():
        if isinstance(value, int):
            found += _count(spec, key)
        elif not isinstance(value, str) or not _PERCENT.fullmatch(value):
            found.append(_bad(f"spec.{key}", value, _PERCENT_RULE))
        elif int(value[:-1]) > 100:
            found.append(_bad(f"spec.{key}", value, "must not be greater than 100%"))
    return found


_CHECKS = {
    "Deployment": _deployment,
    "ReplicaSet": _workload,
    "StatefulSet": _workload,
    "DaemonSet": _workload,
    "CloneSet": _workload,
    "Job": _job,
    "Pod": _pod_spec,
    "PodDisruptionBudget": _budget,
    "Service": _service,
}

_FROZEN: dict[str, tuple[str, ...]] = {
    "Deployment": ("selector",),
    "ReplicaSet": ("selector",),
    "DaemonSet": ("selector",),
    "CloneSet": ("selector",),
    "Job": ("completions", "selector", "template", "completionMode"),
}
_STATEFULSET_MUTABLE = frozenset(
    {
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    }
)
_POD_MUTABLE = frozenset({"activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates"})


def change_faults(resource: Resource, new: Object, old: Object) -> list[Cause]:
    """What an update changes although it may not."""
    if resource.custom:
        return []
    now, before = new.get("spec") or {}, old.get("spec") or {}
    if resource.kind == "StatefulSet":
        return _statefulset_change(now, before)
    if resource.kind == "Pod":
        return _pod_change(now, before)
    if resource is CONTAINER_GROUPS:
        return [] if now == before else [_bad("spec", now, _IMMUTABLE)]
    if resource.kind in ("ConfigMap", "Secret") and old.get("immutable") and new.get("data") != old.get("data"):
        return [Cause("FieldValueForbidden", "Forbidden: field is immutable when `immutable` is set", "data")]
    found = []
    for key in _FROZEN.get(resource.kind, ()):
        if now.get(key) != before.get(key) and not _suspended_template(key, before):
            found.append(_bad(f"spec.{key}", now.get(key), _IMMUTABLE))
    return found


def _suspended_template(key: str, before: Object) -> bool:
    """A suspended Job's scheduling directives may still change."""
    return key == "template" and bool(before.get("suspend"))


def _statefulset_change(now: Object, before: Object) -> list[Cause]:
    frozen = (now.keys() | before.keys()) - _STATEFULSET_MUTABLE
    if all(now.get(key) == before.get(key) for key in frozen):
        return []
    why = (
        "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
        "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
        "'minReadySeconds' are forbidden"
    )
    return [Cause("FieldValueForbidden", why, "spec")]


def _pod_change(now: Object, before: Object) -> list[Cause]:
    def frozen(spec: Object) -> Object:
        rest = {key: value for key, value in spec.items() if key not in _POD_MUTABLE}
        for group in ("containers", "initContainers"):
            if group in rest:
                rest[group] = [{**container, "image": ""} for container in rest[group]]
        return rest

    if frozen(now) == frozen(before):
        return []
    why = (
        "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
        "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
        "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
        "previously negative)"
    )
    return [Cause("FieldValueForbidden", why, "spec")]
