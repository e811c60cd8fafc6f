"""What fields the built-in kinds have, and of which types: read off the models of the Kubernetes client.

This is the one module outside of `shared.kube` that loads the client, and it does not speak through it: its models
are the API's own description, kept up to date by whoever releases it. Loading them takes a moment, so that it is done
when they are first asked for.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from simulator.resources import Resource

Sort = Literal["string", "integer", "number", "boolean", "any", "list", "map", "model"]

_SCALARS: dict[str, Sort] = {
    "str": "string",
    "datetime": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "object": "any",
}
_LIST = re.compile(r"list\[(.+)\]")
_MAP = re.compile(r"dict\(str, (.+)\)")
_GUARDED = re.compile(r"^\s+if (\w+) is not None:$", re.MULTILINE)
_EVENTS = {"": "CoreV1Event", "events.k8s.io": "EventsV1Event"}


@dataclass(frozen=True, slots=True)
class Type:
    """of: what a list or a map holds. model: the name of a model, for that sort."""

    sort: Sort
    of: Type | None = None
    model: str = ""


def model_of(resource: Resource) -> str | None:
    """The model of a built-in kind; None for a custom one, of which nothing is known here."""
    if resource.custom:
        return None
    name = _EVENTS[resource.group] if resource.kind == "Event" else f"{resource.version.capitalize()}{resource.kind}"
    return name if hasattr(_client(), name) else None


@functools.cache
def fields(model: str) -> Mapping[str, Type]:
    """The fields of a model, by their names in JSON."""
    described = getattr(_client(), model)
    names: dict[str, str] = described.attribute_map
    return {names[attribute]: _type(text) for attribute, text in described.openapi_types.items()}


def descriptions(model: str) -> dict[str, str]:
    """What the API says of each field."""
    described = getattr(_client(), model)
    return {name: _said(getattr(described, attribute)) for attribute, name in described.attribute_map.items()}


def required(model: str) -> list[str]:
    """Fields that must be given: those that the model's constructor sets without asking whether they are."""
    described = getattr(_client(), model)
    optional = set(_GUARDED.findall(inspect.getsource(described.__init__)))
    return [name for attribute, name in described.attribute_map.items() if attribute not in optional]


def _type(text: str) -> Type:
    if sort := _SCALARS.get(text):
        return Type(sort)
    if found := _LIST.fullmatch(text):
        return Type("list", of=_type(found[1]))
    if found := _MAP.fullmatch(text):
        return Type("map", of=_type(found[1]))
    return Type("model", model=text)


def _said(attribute: Any) -> str:
    """The middle of a getter's docstring: between "Gets the …" and ":return:"."""
    told = (inspect.getdoc(attribute) or "").partition("\n")[2].partition(":return:")[0]
    return " ".join(told.replace("# noqa: E501", "").replace('\\"', '"').split())


@functools.cache
def _client() -> ModuleType:
    return importlib.import_module("kubernetes_asyncio.client.models")
