"""The OpenAPI documents: for `kubectl explain`, and for clients that leave validation and merging to the server.

Every kind's PATCH is named with its parameters and content types, which kubectl looks up before it trusts the server
with them. The schemas of built-in kinds are those of `models`; custom ones bring theirs along.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from simulator import models
from simulator.models import Type
from simulator.objects import Object, encode
from simulator.registry import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH
from simulator.resources import Catalogue, Resource
from simulator.schema import Schema, schema_of

_VERSION = re.compile(r"(?:[A-Z][a-z]+)?V\d+(?:(?:alpha|beta)\d+)?")


V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


def v2(version: str) -> Object:
    """Swagger, without definitions: what they would tell is in v3, which every client of today asks for."""
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": {},
        "definitions": {},
    }


def v2_protobuf(version: str) -> bytes:
    """The same in gnostic's encoding, the only one in which kubectl takes it: swagger is field 1, info field 2."""
    return _text(1, "2.0") + _bytes(2, _text(1, "Kubernetes") + _text(2, version)) + _bytes(8, b"") + _bytes(9, b"")


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _bytes(number: int, value: bytes) -> bytes:
    """One length-delimited field of fewer than 128 bytes."""
    return bytes([number << 3 | 2, len(value)]) + value


def v3_root(catalogue: Catalogue, prefix: str) -> Object:
    """Where each group version's document lies; `prefix` is the path that the client reached us by."""
    paths = {}
    for name, versions in catalogue.group_versions().items():
        for version in versions:
            path = f"apis/{name}/{version}" if name else f"api/{version}"
            paths[path] = {"serverRelativeURL": f"{prefix}/openapi/v3/{path}"}
    return {"paths": paths}


def v3(catalogue: Catalogue, group: str, version: str) -> bytes | None:
    """One group version's document, encoded; None when it is not served."""
    served = tuple(r for r in catalogue.all() if (r.group, r.version) == (group, version))
    return _document(served) if served else None


@functools.lru_cache(maxsize=64)
def _document(served: tuple[Resource, ...]) -> bytes:
    """Equal for all members that serve the same, and large: made once."""
    paths: Object = {}
    schemas: Object = {}
    for resource in served:
        prefix = f"/apis/{resource.group_version}" if resource.group else f"/api/{resource.version}"
        middle = "/namespaces/{namespace}" if resource.namespaced else ""
        paths[f"{prefix}{middle}/{resource.plural}/{{name}}"] = {"patch": _patch_operation(resource)}
        model = models.model_of(resource)
        if model is None:
            schemas[f"{resource.version}.{resource.kind}"] = _marked(_custom(), resource)
            continue
        for name in _closure(model):
            schemas.setdefault(_name(name), _schema(name, schema_of(resource)))
        schemas[_name(model)] = _marked(schemas[_name(model)], resource)
    return encode(
        {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "v1"},
            "paths": paths,
            "components": {"schemas": schemas},
        }
    )


def _patch_operation(resource: Resource) -> Object:
    kinds = [APPLY_PATCH, JSON_PATCH, MERGE_PATCH]
    if not resource.custom:
        kinds.append(STRATEGIC_PATCH)
    parameters = ("dryRun", "fieldManager", "fieldValidation", "force")
    return {
        "parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in parameters],
        "requestBody": {"content": {kind: {"schema": {"type": "object"}} for kind in kinds}},
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": _gvk(resource),
    }


def _gvk(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _marked(schema: Object, resource: Resource) -> Object:
    told = f"The kind {resource.kind} of {resource.group_version}, as a simulated member serves it."
    return {"description": told, **schema, "x-kubernetes-group-version-kind": [_gvk(resource)]}


def _custom() -> Object:
    return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


# -- schemas -----------------------------------------------------------------------------------------------------


def _name(model: str) -> str:
    """`V1DeploymentSpec` → `v1.DeploymentSpec`: clients show what stands behind the last dot."""
    found = _VERSION.match(model)
    return f"{found[0].lower()}.{model[found.end() :]}" if found else f"core.{model}"


def _closure(model: str) -> list[str]:
    """The model and all that it refers to."""
    seen: dict[str, None] = {}
    waiting = [model]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen[name] = None
            waiting += _referred(models.fields(name).values())
    return list(seen)


def _referred(types: Iterable[Type]) -> list[str]:
    found = []
    for one in types:
        inner: Type | None = one
        while inner is not None:
            if inner.model:
                found.append(inner.model)
            inner = inner.of
    return found


def _schema(model: str, merging: Schema) -> Object:
    told = models.descriptions(model)
    properties = {
        name: {**_property(kind, told[name]), **_merged(name, kind, merging)}
        for name, kind in models.fields(model).items()
    }
    schema: Object = {"type": "object", "properties": properties}
    if needed := models.required(model):
        schema["required"] = needed
    return schema


def _property(kind: Type, description: str) -> Object:
    if kind.sort == "model":
        told = description or f"The {_name(kind.model).rpartition('.')[2]}, field by field."
        return {"description": told, "default": {}, "allOf": [_of(kind)]}
    return {"description": description, **_of(kind)}


def _merged(name: str, kind: Type, merging: Schema) -> Object:
    """How a list merges, without which clients that compute a patch themselves replace it whole."""
    if kind.sort != "list":
        return {}
    if name in merging.sets:
        return {"x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge"}
    keys = merging.keys.get(name)
    item = kind.of.model if kind.of is not None else ""
    if keys is None or not item or not set(keys) <= models.fields(item).keys():
        return {}
    return {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": list(keys),
        "x-kubernetes-patch-merge-key": keys[0],
        "x-kubernetes-patch-strategy": "merge",
    }


def _of(kind: Type) -> Object:
    match kind.sort:
        case "model":
            return {"$ref": f"#/components/schemas/{_name(kind.model)}"}
        case "list":
            assert kind.of is not None
            return {"type": "array", "items": _of(kind.of)}
        case "map":
            assert kind.of is not None
            return {"type": "object", "additionalProperties": _of(kind.of)}
        case "any":
            return {"x-kubernetes-preserve-unknown-fields": True}
    return {"type": kind.sort}
