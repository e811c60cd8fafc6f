"""The catalogue, the schemas and the pages made from them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.bus.streams import STREAMS, template_of
from shared.contracts import generate
from shared.contracts.base import Contract, Part
from shared.contracts.catalogue import CHANNELS, CONTRACTS, EXAMPLES
from shared.contracts.schema import asyncapi, field_notes, schemas

DOCUMENT = asyncapi()


def all_contracts(base: type[Part] = Part) -> Iterator[type[Contract]]:
    for model in base.__subclasses__():
        if issubclass(model, Contract) and model is not Contract:
            yield model
        yield from all_contracts(model)


# -- the catalogue ----------------------------------------------------------------------------------------------


def test_every_stream_is_in_the_catalogue() -> None:
    assert {channel.stream.name for channel in CHANNELS if channel.stream} == set(STREAMS)


def test_every_contract_has_an_example() -> None:
    assert set(EXAMPLES) == set(CONTRACTS)


def test_every_contract_of_the_package_is_in_the_catalogue() -> None:
    ours = {
        model for model in all_contracts() if model.__module__.startswith("shared.contracts.") and "TYPE" in vars(model)
    }
    assert ours - set(CONTRACTS) == set()


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.name)
def test_the_example_is_a_subject_of_its_template(channel: Any) -> None:
    template = re.sub(r"<\w+>", "[^.]+", re.escape(channel.subject).replace(r"\<", "<").replace(r"\>", ">"))
    assert re.match(template, channel.example)
    if channel.stream is not None:
        assert template_of(channel.example) == channel.stream.template


# -- generated files --------------------------------------------------------------------------------------------


def test_the_generated_files_are_fresh() -> None:
    assert generate.stale(generate.ROOT) == [], "run python -m shared.contracts.generate"


def test_stale_missing_and_surplus_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate.write(tmp_path)
    assert generate.main(["--check", "--root", str(tmp_path)]) == 0
    (tmp_path / "docs" / "messages.md").write_text("old")
    (tmp_path / "docs" / "schemas" / "dev.brim.placement.v1.json").unlink()
    (tmp_path / "docs" / "schemas" / "dev.brim.gone.v1.json").write_text("{}")
    assert generate.stale(tmp_path) == [
        "docs/messages.md",
        "docs/schemas/dev.brim.placement.v1.json",
        "docs/schemas/dev.brim.gone.v1.json",
    ]
    assert generate.main(["--check", "--root", str(tmp_path)]) == 1
    assert "docs/messages.md is stale" in capsys.readouterr().err
    generate.write(tmp_path)
    assert generate.stale(tmp_path) == []


def test_the_pages_links_lead_somewhere() -> None:
    page = generate.files()["docs/messages.md"]
    titles = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) - titles == set()
    files = {name.removeprefix("docs/") for name in generate.files()}
    assert set(re.findall(r"\]\((schemas/[^)]+)\)", page)) <= files


# -- schemas ----------------------------------------------------------------------------------------------------


def faults(schema: Any, value: Any, root: Any, path: str = "$") -> list[str]:
    """A checker of the part of JSON Schema that is in use. A keyword it does not know is a fault."""
    known = {
        *("$ref", "$defs", "$id", "$schema", "additionalProperties", "anyOf", "const", "default", "description"),
        *("discriminator", "enum", "exclusiveMinimum", "format", "items", "maxItems", "maximum", "minItems"),
        *("minLength", "minimum", "pattern", "patternProperties", "properties", "required", "title", "type"),
    }
    found = [f"{path}: keyword {word}" for word in set(schema) - known]
    if "$ref" in schema:
        target = root
        for token in schema["$ref"].removeprefix("#/").split("/"):
            target = target[token]
        found += faults(target, value, root, path)
    if "anyOf" in schema and all(faults(option, value, root, path) for option in schema["anyOf"]):
        found.append(f"{path}: none of the options")
    if "const" in schema and value != schema["const"]:
        found.append(f"{path}: not {schema['const']}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{path}: {value!r} not in {schema['enum']}")
    return found + _type_faults(schema, value, root, path)


def _type_faults(schema: Any, value: Any, root: Any, path: str) -> list[str]:
    types = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "null": type(None)}
    kind = schema.get("type")
    if kind == "boolean":
        return [] if isinstance(value, bool) else [f"{path}: no boolean"]
    if kind and (isinstance(value, bool) or not isinstance(value, types[kind])):
        return [f"{path}: {value!r} is no {kind}"]
    found = [f"{path}: too small" for bound in ("minimum",) if bound in schema and value < schema[bound]]
    found += [f"{path}: too large" for bound in ("maximum",) if bound in schema and value > schema[bound]]
    if kind == "array":
        found += [f"{path}: too few" for _ in "x" if len(value) < schema.get("minItems", 0)]
        for number, item in enumerate(value):
            found += faults(schema.get("items", {}), item, root, f"{path}[{number}]")
    if kind == "object":
        properties, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
        found += [f"{path}: {name} missing" for name in schema.get("required", []) if name not in value]
        for name, item in value.items():
            if name in properties:
                found += faults(properties[name], item, root, f"{path}.{name}")
            elif rest is False:
                found.append(f"{path}: {name} unknown")
            elif isinstance(rest, dict):
                found += faults(rest, item, root, f"{path}.{name}")
    return found


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_the_example_obeys_its_schema(contract: type[Contract]) -> None:
    schema = schemas()[contract.TYPE]
    example = json.loads(EXAMPLES[contract].encode())
    assert faults(schema, example, schema) == []
    assert faults(schema, {**example, "replicaz": 1}, schema) == ["$: replicaz unknown"]
    for name in schema.get("required", []):
        assert faults(schema, {key: item for key, item in example.items() if key != name}, schema)


def test_field_notes_come_from_docstrings() -> None:
    class Box(Part):
        """A box. width, height: in metres; never negative. lid: None is
        open."""

        width: float
        height: float
        lid: str | None = None
        colour: str = ""

    assert field_notes(Box) == (
        "A box.",
        {"width": "in metres; never negative", "height": "in metres; never negative", "lid": "None is open"},
    )


# -- AsyncAPI ---------------------------------------------------------------------------------------------------


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def resolve(reference: str) -> Any:
    target: Any = DOCUMENT
    assert reference.startswith("#/"), reference
    for token in reference[2:].split("/"):
        target = target[token]
    return target


def test_every_reference_of_the_asyncapi_document_resolves() -> None:
    found = set(references(DOCUMENT))
    assert len(found) > 50
    for reference in found:
        assert isinstance(resolve(reference), dict)


def test_the_asyncapi_document_has_the_required_structure() -> None:
    document: Any = DOCUMENT
    assert document["asyncapi"] == "3.0.0"
    assert document["info"]["title"]
    assert document["info"]["version"]
    assert all({"host", "protocol"} <= set(server) for server in document["servers"].values())
    for name, channel in document["channels"].items():
        assert re.fullmatch(r"[\w.-]+", name)
        assert channel["messages"]
        in_address = set(re.findall(r"\{(\w+)\}", channel["address"] or ""))
        assert in_address == set(channel.get("parameters", {}))
    for operation in document["operations"].values():
        assert operation["action"] in ("send", "receive")
        channel = operation["channel"]["$ref"]
        assert all(message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"])
        if "reply" in operation:
            replied = operation["reply"]["channel"]["$ref"]
            assert all(m["$ref"].startswith(f"{replied}/messages/") for m in operation["reply"]["messages"])


def test_examples_in_the_asyncapi_document_obey_its_schemas() -> None:
    document: Any = DOCUMENT
    for contract in CONTRACTS:
        message = document["components"]["messages"][contract.__name__]
        for example in message["examples"]:
            assert faults(message["payload"], example["payload"], document) == []


def test_the_yaml_file_says_the_same() -> None:
    assert yaml.safe_load(generate.files()["docs/asyncapi.yaml"]) == json.loads(json.dumps(DOCUMENT))
