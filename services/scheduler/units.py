"""Workloads whose pods brim binds inside the members: which units they may use there, by policy and by label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from services.scheduler.core import units
from services.scheduler.core.inside.policies import ResourcePolicies, resource_policy_of
from services.scheduler.core.values import Workload
from services.scheduler.intake.known import Known
from shared import workloads
from shared.contracts.base import JsonObject
from shared.contracts.desired import Desired
from shared.contracts.resource_policy import ResourcePolicy as WrittenPolicy
from shared.units import SCHEDULERS, asks_for_eci


class Units:
    """policies: all ResourcePolicies in force."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self.policies = ResourcePolicies()

    def take(self, desired: Desired) -> list[Desired]:
        """A policy as DESIRED has it now; returns the workloads of its namespace, which may use other units now."""
        key = (desired.ref.namespace, desired.ref.name)
        if desired.deleted is not None:
            return self.remove(key)
        self.policies.put(resource_policy_of(WrittenPolicy.read(desired.manifest), desired.created_at))
        return list(self._bound_by_brim(key[0]))

    def remove(self, key: tuple[str, str]) -> list[Desired]:
        """A policy that is no more; as `take`. key: (namespace, name)."""
        return list(self._bound_by_brim(key[0])) if self.policies.remove(key) is not None else []

    def of_namespace(self, name: str) -> list[Desired]:
        """The workloads that its label is about."""
        return list(self._bound_by_brim(name))

    def apply(self, workload: Workload, desired: Desired) -> Workload:
        """The workload with its units, if brim binds its pods."""
        template = _template(desired)
        if template is None or workload.deleted is not None or len(workload.components) != 1:
            return workload
        labels, annotations = _texts(template, "labels"), _texts(template, "annotations")
        shape = workload.components[0].shape
        if asks_for_eci(labels, self._namespace_labels(desired.ref.namespace)):
            return units.with_units(workload, units.of_eci(shape, annotations))
        found = self.policies.of(desired.ref.namespace, labels)
        if not found or _scheduler(template) not in SCHEDULERS:
            return workload
        ceilings = [one for one in (workload.ceiling, found[0].ceiling) if one is not None]
        limited = replace(workload, ceiling=min(ceilings, default=None))
        return units.with_units(limited, units.of_policy(shape, annotations, found[0]))

    def _bound_by_brim(self, namespace: str) -> Iterator[Desired]:
        """Workloads there whose pods brim may bind."""
        for entry in self._known:
            desired = entry.desired
            if desired.ref.namespace == namespace and desired.deleted is None and _template(desired) is not None:
                yield desired

    def _namespace_labels(self, name: str) -> Mapping[str, str]:
        """As far as the fleet propagates the namespace; labels that a member gave it only its own pods can tell."""
        desired = self._known.live(("Namespace", "", "", name))
        return _texts(desired.manifest, "labels") if desired is not None else {}


def _template(desired: Desired) -> JsonObject | None:
    """The one pod template of a workload that is divided; None for anything else."""
    kind = workloads.kind_of(desired.ref.kind, desired.ref.group)
    if kind is None or not kind.divisible:
        return None
    templates = workloads.templates_of(kind, desired.manifest)
    return templates[0] if len(templates) == 1 else None


def _texts(holder: JsonObject, name: str) -> Mapping[str, str]:
    metadata = holder.get("metadata")
    found = metadata.get(name) if isinstance(metadata, dict) else None
    return {key: str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _scheduler(template: JsonObject) -> str:
    spec = template.get("spec")
    return str(spec.get("schedulerName") or "") if isinstance(spec, dict) else ""
