"""Kinds that run pods: where in their manifests the replica counts and the pod templates are.

The built-in kinds and the shipped custom ones stand in `workload_kinds.yaml`; `install` adds those of a file that
the settings name. A kind that is not here has no pods as far as brim is concerned, and is propagated whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from shared.contracts.base import JsonObject, field_path
from shared.errors import Misconfigured
from shared.manifest_paths import holder_of, steps_of, updated, values_at, with_value, without
from shared.quantities import parse

SHIPPED: Final = Path(__file__).with_name("workload_kinds.yaml")

_END_CONDITIONS = ("Complete", "Failed", "Succeeded")  # of Kubernetes' and of Kubeflow's jobs
_JVM_UNITS = {"k": "Ki", "m": "Mi", "g": "Gi", "t": "Ti"}


@dataclass(frozen=True, slots=True)
class Component:
    """One sort of pod in a workload. Paths are dotted; `*` is every value of a map, `[*]` every item of a list.

    replicas_path: of the count, "" where it is fixed. template_path: of the pod template ("." is the manifest
    itself); of several, parted by "|", the first that is there counts. default_replicas: where the path holds
    nothing. times_path, times_less: each replica is (the value there − times_less) pods, as in groups of hosts.
    labels_path: where pod labels go, if not into the template. cpu_path, memory_path: where a kind without pod
    templates says what a pod asks for; memory may be in the JVM's form ("512m" is 512 MiB).
    containers_path: containers of which any one may run; the greatest of each request counts.
    """

    name: str
    replicas_path: str = ""
    template_path: str = ""
    default_replicas: int = 1
    times_path: str = ""
    times_less: int = 0
    labels_path: str = ""
    cpu_path: str = ""
    memory_path: str = ""
    containers_path: str = ""


@dataclass(frozen=True, slots=True)
class WorkloadKind:
    """divisible: replicas may be spread over members; else the object goes whole to one where everything fits.

    per_node: it has a pod on each node of any member that it goes to. There is nothing to count and no room to look
    for, so that it is propagated like an object without pods; but its template has revisions.
    completions_path: of a Job's number of successes, which caps its replicas and is immutable.
    end_path, end_values: where its status says that it ran to its end, and in which words; `has_ended` also knows the
    usual conditions.
    """

    group: str
    kind: str
    plural: str
    components: tuple[Component, ...]
    divisible: bool = False
    per_node: bool = False
    completions_path: str = ""
    end_path: str = ""
    end_values: tuple[str, ...] = ()

    @property
    def scale_path(self) -> str:
        """The one path that scaling writes, "" for kinds with none or several."""
        paths = {component.replicas_path for component in self.components} - {""}
        only = paths.pop() if len(paths) == 1 else ""
        return "" if "*" in only else only


@dataclass(frozen=True, slots=True)
class PodSet:
    """So many equal pods of one component. template: metadata and spec, as in a pod template. path: where it is."""

    name: str
    replicas: int
    template: JsonObject
    path: str = ""


class _Entry(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class _ComponentEntry(_Entry):
    name: str = "pods"
    replicas_path: str = ""
    template_path: str = ""
    default_replicas: int = Field(1, ge=0)
    times_path: str = ""
    times_less: int = Field(0, ge=0)
    labels_path: str = ""
    cpu_path: str = ""
    memory_path: str = ""
    containers_path: str = ""


class _KindEntry(_Entry):
    group: str = ""
    kind: str = Field(min_length=1)
    plural: str = Field(min_length=1)
    components: tuple[_ComponentEntry, ...] = Field(min_length=1)
    divisible: bool = False
    per_node: bool = False
    completions_path: str = ""
    end_path: str = ""
    end_values: tuple[str, ...] = ()


_FILE: TypeAdapter[tuple[_KindEntry, ...]] = TypeAdapter(tuple[_KindEntry, ...])
_installed: dict[tuple[str, str], WorkloadKind] = {}


def install(file: Path | None) -> None:
    """Add the kinds of a YAML file (the form of `workload_kinds.yaml`) to the shipped ones, once per process.

    A kind of the file replaces a shipped one. None takes all additions away. Raises Misconfigured.
    """
    _installed.clear()
    if file is not None:
        _installed.update(_load(file))


def kind_of(kind: str, group: str) -> WorkloadKind | None:
    """What is known of a kind; None for one without pods."""
    return _installed.get((kind, group)) or _shipped().get((kind, group))


def has_replicas(kind: str, group: str) -> bool:
    """Whether it has a number of replicas that people choose."""
    found = kind_of(kind, group)
    return found is not None and not found.per_node


def kinds() -> list[WorkloadKind]:
    """All kinds with pods that are known now."""
    return list((_shipped() | _installed).values())


@lru_cache(maxsize=1)
def _shipped() -> dict[tuple[str, str], WorkloadKind]:
    return _load(SHIPPED)


def _load(file: Path) -> dict[tuple[str, str], WorkloadKind]:
    try:
        entries = _FILE.validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))
        found = [_kind(entry) for entry in entries]
    except OSError as error:
        raise Misconfigured(f"workload kinds {file}: {error.strerror}; correct the setting or unset it") from error
    except yaml.YAMLError as error:
        raise Misconfigured(f"workload kinds {file} are no YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise Misconfigured(f"workload kinds {file}: {field_path(first['loc'])}: {first['msg']}") from error
    except ValueError as error:
        raise Misconfigured(f"workload kinds {file}: {error}") from error
    return {(kind.kind, kind.group): kind for kind in found}


def _kind(entry: _KindEntry) -> WorkloadKind:
    components = tuple(Component(**component.model_dump()) for component in entry.components)
    kind = WorkloadKind(**{name: getattr(entry, name) for name in _KindEntry.model_fields} | {"components": components})
    for component in components:
        if component.replicas_path and component.template_path:
            for template in component.template_path.split("|"):
                if holder_of(component.replicas_path) != holder_of(template):
                    raise ValueError(f"{kind.kind}: {component.replicas_path} and {template} do not go together")
    if kind.divisible and (len(components) != 1 or not kind.scale_path):
        raise ValueError(f"{kind.kind} is divisible but has not exactly one component with one replicas path")
    if kind.per_node and any(component.replicas_path for component in components):
        raise ValueError(f"{kind.kind} has a pod on each node, and a replicas path too")
    return kind


# -- counts --------------------------------------------------------------------------------------------------


def replicas_of(kind: WorkloadKind, manifest: JsonObject) -> int:
    """Pods that a manifest asks for: of a Job at most its completions; of several components their sum."""
    return replicas_in(kind, manifest, pods_of(kind, manifest))


def replicas_in(kind: WorkloadKind, manifest: JsonObject, pods: Sequence[PodSet]) -> int:
    """As `replicas_of`, for one whose pods are at hand."""
    total = sum(part.replicas for part in pods)
    completions = completions_of(kind, manifest)
    return total if completions is None else min(total, completions)


def completions_of(kind: WorkloadKind, manifest: JsonObject) -> int | None:
    """Successes that a Job wants; None where it does not say, and for other kinds."""
    found = values_at(manifest, steps_of(kind.completions_path)) if kind.completions_path else []
    return found[0] if found and isinstance(found[0], int) else None


def count_of(kind: WorkloadKind, manifest: JsonObject) -> int | None:
    """The number at the one path that scaling writes; None where nothing stands there."""
    found = values_at(manifest, steps_of(kind.scale_path)) if kind.scale_path else []
    return found[0] if found and isinstance(found[0], int) else None


def raw_counts(kind: WorkloadKind, manifest: JsonObject) -> list[tuple[str, JsonValue]]:
    """(path, value) of everything that stands where a count should be, to be checked by whoever takes it in."""
    paths = {path for part in kind.components for path in (part.replicas_path, part.times_path)}
    return [
        (path, value)
        for path in sorted((paths | {kind.completions_path}) - {""})
        for value in values_at(manifest, steps_of(path))
    ]


def with_replicas(kind: WorkloadKind, manifest: JsonObject, n: int, completions: int | None = None) -> JsonObject:
    """A copy that asks for n replicas, and of a Job for so many completions.

    Raises ValueError for a kind that has no or several counts.
    """
    if not kind.scale_path:
        raise ValueError(f"{kind.kind} has no single replica count")
    changed = with_value(manifest, steps_of(kind.scale_path), n)
    if completions is not None and kind.completions_path:
        changed = with_value(changed, steps_of(kind.completions_path), completions)
    return changed


def without_replicas(kind: WorkloadKind, manifest: JsonObject) -> JsonObject:
    """A copy that says nothing of the count; a Job's completions stay."""
    if count_of(kind, manifest) is None:
        return manifest
    *above, last = steps_of(kind.scale_path)
    return updated(manifest, above, lambda holder: without(holder, last))


def has_ended(kind: WorkloadKind | None, manifest: JsonObject) -> bool:
    """Whether an object's status says that it ran to its end, well or not, and will run nothing more."""
    if kind is not None and kind.end_path and set(values_at(manifest, steps_of(kind.end_path))) & set(kind.end_values):
        return True
    return any(
        isinstance(one, dict) and one.get("type") in _END_CONDITIONS and one.get("status") == "True"
        for one in values_at(manifest, ("status", "conditions", "[*]"))
    )


# -- templates -----------------------------------------------------------------------------------------------


def templates_of(kind: WorkloadKind, manifest: JsonObject) -> list[JsonObject]:
    """The pod templates, one per component that is there."""
    return [pods.template for pods in pods_of(kind, manifest)]


def pods_of(kind: WorkloadKind, manifest: JsonObject) -> list[PodSet]:
    """All pods of a workload, as sets of equal ones."""
    return [pods for component in kind.components for pods in _pod_sets(component, manifest)]


def mark_templates(kind: WorkloadKind, manifest: JsonObject, labels: dict[str, str]) -> JsonObject:
    """A copy with labels added wherever the kind's pods take theirs from; the same where brim places none of them."""
    if kind.per_node:
        return manifest
    for component in kind.components:
        if component.labels_path:
            manifest = updated(manifest, steps_of(component.labels_path), _adding(labels), create=True)
            continue
        for path in component.template_path.split("|"):
            manifest = updated(manifest, steps_of(path), lambda template: _labelled(template, labels))
    return manifest


def annotate_templates(kind: WorkloadKind, manifest: JsonObject, annotations: dict[str, str]) -> JsonObject:
    """A copy with annotations added to every pod template. The same manifest where the kind has none."""
    for component in kind.components:
        for path in component.template_path.split("|") if component.template_path else ():
            manifest = updated(
                manifest,
                steps_of(path),
                lambda template: updated(template, ("metadata", "annotations"), _adding(annotations), create=True),
            )
    return manifest


def _pod_sets(component: Component, manifest: JsonObject) -> list[PodSet]:
    paths = [path for path in (component.replicas_path, component.template_path.split("|")[0]) if path]
    holder = holder_of(paths[0]) if paths else ()
    skip = len(holder)
    found: list[PodSet] = []
    for part in values_at(manifest, holder):
        if not isinstance(part, dict):
            continue
        located = _template(component, part, skip)
        if located is None:
            continue
        template, path = located
        count = _number(part, component.replicas_path, skip, component.default_replicas)
        if component.times_path:
            count *= max(0, _number(part, component.times_path, skip, 1) - component.times_less)
        found.append(PodSet(component.name, count, template, path))
    return found


def _number(part: JsonObject, path: str, skip: int, default: int) -> int:
    found = values_at(part, steps_of(path)[skip:]) if path else []
    return found[0] if found and isinstance(found[0], int) and not isinstance(found[0], bool) else default


def _template(component: Component, part: JsonObject, skip: int) -> tuple[JsonObject, str] | None:
    """The pod template below a holder and its path; composed where the kind only says what its pods ask for."""
    for path in component.template_path.split("|") if component.template_path else ():
        for found in values_at(part, steps_of(path)[skip:]):
            if isinstance(found, dict):
                own = _asked_for(component, part, skip)
                return (_with_requests(found, own) if own else found), path
    if component.template_path and not (component.cpu_path or component.containers_path):
        return None
    return _with_requests({}, _asked_for(component, part, skip)), component.template_path


def _asked_for(component: Component, part: JsonObject, skip: int) -> dict[str, JsonValue]:
    requests: dict[str, JsonValue] = {}
    for resource, path in (("cpu", component.cpu_path), ("memory", component.memory_path)):
        for value in values_at(part, steps_of(path)[skip:]) if path else ():
            requests[resource] = _kubernetes_memory(str(value)) if resource == "memory" else str(value)
    if component.containers_path:
        requests |= _greatest(values_at(part, steps_of(component.containers_path)[skip:]))
    return requests


def _greatest(containers: list[JsonValue]) -> dict[str, JsonValue]:
    greatest: dict[str, JsonValue] = {}
    for container in containers:
        resources = container.get("resources") if isinstance(container, dict) else None
        asked = resources.get("requests") if isinstance(resources, dict) else None
        for name, value in asked.items() if isinstance(asked, dict) else ():
            if name not in greatest or parse(str(value)) > parse(str(greatest[name])):
                greatest[name] = value
    return greatest


def _with_requests(template: JsonObject, requests: dict[str, JsonValue]) -> JsonObject:
    """The template with one container that asks for all; its other scheduling fields stay."""
    spec = template.get("spec")
    container: JsonValue = {"name": "main", "resources": {"requests": requests}}
    return {**template, "spec": {**(spec if isinstance(spec, dict) else {}), "containers": [container]}}


def _kubernetes_memory(text: str) -> str:
    """The JVM's "512m" is 512 MiB, where Kubernetes would read 0.512 bytes."""
    number, unit = text[:-1], text[-1:].lower()
    return number + _JVM_UNITS[unit] if number.isdigit() and unit in _JVM_UNITS else text


def _labelled(template: JsonObject, labels: dict[str, str]) -> JsonObject:
    return updated(template, ("metadata", "labels"), _adding(labels), create=True)


def _adding(labels: dict[str, str]) -> Callable[[JsonObject], JsonObject]:
    return lambda present: {**present, **labels}
