"""meta.k8s.io/v1 Tables and PartialObjectMetadata: objects as `kubectl get` and metadata clients ask for them."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.columns import GENERIC, PRINTERS
from simulator.objects import Object
from simulator.resources import Resource

_META = "meta.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class Form:
    """What the Accept header asks for: object, table or metadata; `include` is a table's includeObject."""

    kind: str = "object"
    include: str = "Metadata"


def form_of(accept: str, include: str) -> Form:
    """The first form in an Accept header that is served; plain JSON otherwise."""
    for part in accept.split(","):
        compact = part.replace(" ", "")
        if "g=meta.k8s.io" in compact and "v=v1beta1" not in compact:
            if "as=Table" in compact:
                return Form("table", include or "Metadata")
            if "as=PartialObjectMetadata" in compact:
                return Form("metadata")
        elif compact.startswith(("application/json", "*/*", "application/yaml")):
            break
    return Form()


def table(
    resource: Resource, rows: list[Object], form: Form, now: float, metadata: Object, header: bool = True
) -> Object:
    """A Table with one row per object (as stored)."""
    printer = PRINTERS.get(resource.shelf, GENERIC)
    columns = [
        {
            "name": name,
            "type": "string",
            "format": "name" if name == "Name" else "",
            "description": "",
            "priority": 1 if wide else 0,
        }
        for name, wide in printer.columns
    ]
    return {
        "kind": "Table",
        "apiVersion": _META,
        "metadata": metadata,
        "columnDefinitions": columns if header else None,
        "rows": [{"cells": printer.cells(obj, now), **_row_object(obj, form)} for obj in rows],
    }


def _row_object(obj: Object, form: Form) -> Object:
    if form.include == "None":
        return {}
    return {"object": obj if form.include == "Object" else partial(obj)}


def partial(obj: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": _META, "metadata": obj["metadata"]}
