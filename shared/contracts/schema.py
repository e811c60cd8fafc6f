"""JSON Schemas of every contract, and an AsyncAPI 3 document of every subject.

The meaning of a field is written once, in the docstring of its model, as `name: what it is`; `field_notes`
reads it from there for schemas and pages alike.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from shared.contracts.base import Contract, JsonObject, Part
from shared.contracts.catalogue import CHANNELS, CONTRACTS, EXAMPLES, PEOPLE, Channel

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_MODE: Final[JsonSchemaMode] = "validation"
_PARAMETERS: Final = {
    "member": "The member's id.",
    "kind": "`<Kind>~<group>`, for instance `Deployment~apps`; the group is empty for core kinds.",
    "namespace": "The namespace, `_` for cluster scope.",
    "name": "The object's name.",
    "uid": "The workload's uid in DESIRED.",
    "n": "The revision's number.",
    "pod": "The pod's name.",
    "service": "The service's name.",
    "verb": "What is asked of it.",
    "id": "The action's id.",
}


class _Described(GenerateJsonSchema):
    """pydantic's schema, with each field's note as its description and without generated titles."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schemas() -> dict[str, JsonObject]:
    """One self-contained JSON Schema per contract, by its CloudEvents type, "dev.brim.placement.v1"."""
    return {contract.TYPE: _schema(contract) for contract in CONTRACTS}


def _schema(contract: type[Contract]) -> JsonObject:
    schema = contract.model_json_schema(by_alias=True, mode=_MODE, schema_generator=_Described)
    _describe(schema, contract)
    parts = models_within(contract)
    for name, part in schema.get("$defs", {}).items():
        if name in parts:
            _describe(part, parts[name])
    return {"$schema": DIALECT, "$id": f"urn:brim:{contract.TYPE}", **schema}


def _describe(schema: JsonObject, model: type[BaseModel]) -> None:
    lead, notes = field_notes(model)
    if lead:
        schema["description"] = lead
    else:
        schema.pop("description", None)
    properties = schema.get("properties")
    assert isinstance(properties, dict)
    for name, field in model.model_fields.items():
        entry = properties[field.serialization_alias or field.alias or name]
        assert isinstance(entry, dict)
        if name in notes:
            entry["description"] = notes[name]


def field_notes(model: type[BaseModel]) -> tuple[str, dict[str, str]]:
    """A docstring's general part, and per field what follows `name:` or `name, other:` in it."""
    text = " ".join((model.__doc__ or "").split()) if _own_doc(model) else ""
    names = "|".join(re.escape(name) for name in sorted(model.model_fields, key=len, reverse=True))
    if not names:
        return text, {}
    heads = list(re.finditer(rf"(?:^|(?<=[.;)] ))((?:{names})(?:, (?:{names}))*): ", text))
    notes: dict[str, str] = {}
    for position, head in enumerate(heads):
        end = heads[position + 1].start() if position + 1 < len(heads) else len(text)
        for name in head.group(1).split(", "):
            notes[name] = text[head.end() : end].strip().rstrip(";.")
    lead = text[: heads[0].start()].strip() if heads else text
    return lead, notes


def _own_doc(model: type[BaseModel]) -> bool:
    return "__doc__" in model.__dict__ and model.__doc__ not in (Part.__doc__, Contract.__doc__)


def models_within(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The parts that a contract is made of, by class name, in the order in which they are met."""
    found: dict[str, type[BaseModel]] = {}
    waiting = [model]
    while waiting:
        for part in _parts(waiting.pop(0)):
            if part.__name__ not in found and part is not model:
                found[part.__name__] = part
                waiting.append(part)
    return found


def _parts(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for field in model.model_fields.values():
        yield from _models_in(field.annotation)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)


def asyncapi(version: str = "0.1.0") -> JsonObject:
    """The AsyncAPI 3 document, as seen from brim: it receives what people send and sends the rest."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "brim",
            "version": version,
            "description": "Everything that brim's services say to each other and to people, over NATS JetStream.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"nats": {"host": "localhost:4222", "protocol": "nats"}},
        "channels": {
            **{_key(channel): _channel(channel) for channel in CHANNELS if _messages(channel)},
            **{f"{_key(channel)}Reply": _reply_channel(channel) for channel in CHANNELS if channel.answer},
        },
        "operations": {_key(channel): _operation(channel) for channel in CHANNELS if _messages(channel)},
        "components": {"messages": _component_messages(), "schemas": _component_schemas()},
    }


def _key(channel: Channel) -> str:
    """ "SUBMIT apply" → submitApply: a key that needs no escaping in a reference."""
    first, *rest = channel.name.lower().split()
    return first + "".join(word.capitalize() for word in rest)


def _messages(channel: Channel) -> list[str]:
    return ["Manifests"] if channel.manifests else [contract.__name__ for contract in channel.contracts]


def _channel(channel: Channel) -> JsonObject:
    parameters = re.findall(r"<(\w+)>", channel.subject)
    result: JsonObject = {
        "address": re.sub(r"<(\w+)>", r"{\1}", channel.subject),
        "title": channel.name,
        "description": f"{channel.purpose} Kept: {channel.retention}. "
        f"Written by: {', '.join(channel.writers)}. Read by: {', '.join(channel.readers)}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _messages(channel)},
    }
    if parameters:
        result["parameters"] = {name: {"description": _PARAMETERS[name]} for name in parameters}
    return result


def _reply_channel(channel: Channel) -> JsonObject:
    assert channel.answer is not None
    name = channel.answer.__name__
    return {
        "address": None,
        "description": "The request's own reply subject.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
    }


def _operation(channel: Channel) -> JsonObject:
    key = _key(channel)
    result: JsonObject = {
        "action": "receive" if channel.writers == (PEOPLE,) else "send",
        "channel": {"$ref": f"#/channels/{key}"},
        "summary": channel.purpose,
        "messages": [{"$ref": f"#/channels/{key}/messages/{name}"} for name in _messages(channel)],
    }
    if channel.answer:
        result["reply"] = {
            "channel": {"$ref": f"#/channels/{key}Reply"},
            "messages": [{"$ref": f"#/channels/{key}Reply/messages/{channel.answer.__name__}"}],
        }
    return result


def _component_messages() -> JsonObject:
    manifests: JsonObject = {
        "name": "Manifests",
        "title": "Kubernetes manifests",
        "summary": "YAML of one or many documents, or JSON: an object, a List, or an array.",
        "contentType": "application/yaml",
        "payload": {},
    }
    return {"Manifests": manifests, **{contract.__name__: _message(contract) for contract in CONTRACTS}}


def _message(contract: type[Contract]) -> JsonObject:
    lead, _ = field_notes(contract)
    return {
        "name": contract.TYPE,
        "title": contract.__name__,
        **({"summary": lead} if lead else {}),
        "headers": {"$ref": "#/components/schemas/Headers"},
        "payload": {"$ref": f"#/components/schemas/{contract.__name__}"},
        "examples": [{"payload": EXAMPLES[contract].model_dump(mode="json", by_alias=True, exclude_none=True)}],
    }


def _component_schemas() -> JsonObject:
    _, document = models_json_schema(
        [(contract, _MODE) for contract in CONTRACTS],
        by_alias=True,
        ref_template="#/components/schemas/{model}",
        schema_generator=_Described,
    )
    found: Mapping[str, JsonObject] = document["$defs"]
    known: dict[str, type[BaseModel]] = {contract.__name__: contract for contract in CONTRACTS}
    for contract in CONTRACTS:
        known.update(models_within(contract))
    for name, schema in found.items():
        if name in known:
            _describe(schema, known[name])
    return {"Headers": _headers(), **found}


def _headers() -> JsonObject:
    text: JsonObject = {"type": "string"}
    return {
        "type": "object",
        "description": "CloudEvents 1.0 in NATS' binary mode, and the W3C trace context.",
        "properties": {
            "ce-specversion": {"const": "1.0"},
            "ce-id": text,
            "ce-source": {**text, "description": "/brim/<service>"},
            "ce-type": {**text, "description": "The contract's type, which ends in its version."},
            "ce-time": {**text, "format": "date-time"},
            "traceparent": text,
        },
    }
