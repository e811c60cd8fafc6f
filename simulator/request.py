"""One HTTP request, read as Kubernetes' API means it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import yaml

from simulator import protobuf, statuses
from simulator.fields import Strictness
from simulator.registry import Deletion, Write
from simulator.resources import Catalogue, Resource


@dataclass(frozen=True, slots=True)
class Call:
    """A request for a resource: verb, place and options."""

    method: str
    resource: Resource
    namespace: str
    name: str
    subresource: str
    query: Mapping[str, str]
    accept: str = ""
    content_type: str = ""
    user_agent: str = ""
    body: bytes = b""

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("1", "true", "t")

    def number(self, name: str) -> int:
        """A numeric option; 0 when absent. Raises ApiError 400."""
        text = self.query.get(name) or "0"
        try:
            return int(text)
        except ValueError as error:
            raise statuses.bad_request(f"{name}: {text!r} is no number") from error

    def document(self) -> Any:
        """The body, JSON or YAML. Raises ApiError 400 or 415."""
        if "protobuf" in self.content_type:
            return self._protobuf()
        try:
            return json.loads(self.body)
        except ValueError as error:
            if "yaml" not in self.content_type:
                raise statuses.bad_request(f"the object provided is unrecognized: {error}") from error
        try:
            return yaml.safe_load(self.body)
        except yaml.YAMLError as error:
            raise statuses.bad_request(f"error decoding YAML: {error}") from error

    def _protobuf(self) -> Any:
        try:
            return protobuf.decode(self.body)
        except (protobuf.ProtobufError, UnicodeDecodeError, AttributeError) as error:
            supported = ("application/json", "application/yaml")
            raise statuses.unsupported_media(supported, str(error)) from error

    @property
    def strictness(self) -> Strictness:
        """What becomes of unknown fields. Raises ApiError 400."""
        text = self.query.get("fieldValidation") or "Warn"
        if text not in ("Strict", "Warn", "Ignore"):
            raise statuses.bad_request(f"fieldValidation: {text!r} is none of Strict, Warn, Ignore")
        return cast(Strictness, text)

    @property
    def dry_run(self) -> bool:
        return "dryRun" in self.query

    def write(self, subresource: str = "") -> Write:
        default = self.user_agent.partition("/")[0] or "unknown"
        manager = self.query.get("fieldManager") or default
        if "apply-patch" in self.content_type and "fieldManager" not in self.query:
            manager = ""
        return Write(manager[:128], subresource, self.dry_run, self.flag("force"))

    def deletion(self, body: Any) -> Deletion:
        """DeleteOptions from the body, else from the query."""
        options: dict[str, Any] = {**self.query, **(body if isinstance(body, dict) else {})}
        grace = options.get("gracePeriodSeconds")
        preconditions = options.get("preconditions") or {}
        propagation = options.get("propagationPolicy") or "Background"
        if str(options.get("orphanDependents", "")).lower() == "true":
            propagation = "Orphan"
        if propagation not in ("Background", "Foreground", "Orphan"):
            raise statuses.bad_request(f"propagationPolicy: {propagation!r} is not supported")
        return Deletion(
            propagation,
            None if grace is None else int(grace),
            preconditions.get("uid") or "",
            preconditions.get("resourceVersion") or "",
            self.dry_run or bool(options.get("dryRun")),
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path points."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    watch: bool = False


def place_of(path: str, catalogue: Catalogue) -> Place | None:
    """The resource that a path under /api or /apis names; None when nothing there is served."""
    parts = [part for part in path.split("/") if part]
    if not parts or parts[0] not in ("api", "apis"):
        return None
    core = parts[0] == "api"
    if len(parts) < (3 if core else 4):
        return None
    group, version = ("", parts[1]) if core else (parts[1], parts[2])
    rest = parts[2:] if core else parts[3:]
    watch = rest[0] == "watch"
    rest = rest[1:] if watch else rest
    if len(rest) >= 3 and rest[0] == "namespaces":
        resource = catalogue.find(group, version, rest[2])
        if resource is not None and resource.namespaced:
            name, subresource = [*rest[3:5], "", ""][:2]
            return Place(resource, rest[1], name, "/".join([subresource, *rest[5:]]), watch)
    resource = catalogue.find(group, version, rest[0]) if rest else None
    if resource is None:
        return None
    name, subresource = [*rest[1:3], "", ""][:2]
    if resource.namespaced and name:
        return None
    return Place(resource, "", name, subresource, watch)
