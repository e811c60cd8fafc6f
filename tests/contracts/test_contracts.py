"""Contracts: what is written can be read back, and nothing unknown gets through."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from shared.contracts.base import Contract, JsonObject
from shared.contracts.capacity import Delta, Heartbeat, NodeColumns, Snapshot, decode_capacity
from shared.contracts.catalogue import CONTRACTS, EXAMPLES
from shared.contracts.refs import ObjectRef
from shared.contracts.schema import models_within
from shared.contracts.selectors import Requirement
from shared.errors import Invalid

COUNTS = st.integers(0, 1_000_000)
MOMENTS = st.floats(0, 4e9, allow_nan=False)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
MANIFESTS = st.dictionaries(st.text(min_size=1), JSON, max_size=4)


@st.composite
def columns(draw: st.DrawFn) -> NodeColumns:
    """Equally long columns."""
    size = draw(st.integers(0, 4))
    amounts = st.dictionaries(
        st.sampled_from(["cpu", "memory", "pods", "nvidia.com/gpu"]),
        st.lists(st.integers(-(2**40), 2**40), min_size=size, max_size=size),
    )
    return NodeColumns(
        names=[f"node-{number}" for number in range(size)],
        classes=draw(st.lists(st.integers(0, 9), min_size=size, max_size=size)),
        phases=draw(
            st.lists(st.sampled_from(["ready", "upcoming", "unready", "virtual"]), min_size=size, max_size=size)
        ),
        allocatable=draw(amounts),
        free=draw(amounts),
    )


@st.composite
def requirements(draw: st.DrawFn) -> Requirement:
    """Values where the operator takes some."""
    operator = draw(st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]))
    values = draw(st.lists(st.text(), min_size=1, max_size=3)) if operator in ("In", "NotIn") else ()
    return Requirement(key=draw(st.text(min_size=1)), operator=operator, values=tuple(values))


def anything(annotation: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Any value of a field's type; drawn within its bounds where models set some."""
    if annotation is NodeColumns:
        return columns()
    if annotation is Requirement:
        return requirements()
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return messages(annotation)
    origin = getattr(annotation, "__origin__", None)
    arguments = getattr(annotation, "__args__", ())
    if origin in (list, tuple):
        made = st.lists(anything(arguments[0]), max_size=3)
        return made.map(tuple) if origin is tuple else made
    if origin is dict:
        if "JsonValue" in str(arguments):
            return MANIFESTS
        return st.dictionaries(anything(arguments[0]), anything(arguments[1]), max_size=3)
    if arguments and all(isinstance(argument, str) for argument in arguments):
        return st.sampled_from(arguments)
    if arguments:
        return st.one_of([anything(argument) for argument in arguments])
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text(),
        int: COUNTS,
        float: MOMENTS,
        bool: st.booleans(),
        type(None): st.none(),
    }
    return plain[annotation]


NARROW: dict[tuple[str, str], st.SearchStrategy[Any]] = {
    ("Delete", "refs"): st.deferred(lambda: refs_of_a_delete()),
    ("Desired", "generation"): st.integers(1, 10**9),
    ("Revision", "number"): st.integers(1, 10**9),
    ("Stuck", "count"): st.integers(1, 10**6),
    ("Read", "tail"): st.integers(0, 10_000),
    ("Read", "limit"): st.integers(1, 500),
}


def refs_of_a_delete() -> st.SearchStrategy[Any]:
    return st.lists(messages(ObjectRef), min_size=1, max_size=3).map(tuple)


def messages(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    fields = {
        name: NARROW[key] if (key := (model.__name__, name)) in NARROW else anything(field.annotation)
        for name, field in model.model_fields.items()
    }
    return st.fixed_dictionaries(fields).map(lambda values: model(**values))


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_what_is_written_is_read_back(contract: type[Contract]) -> None:
    @settings(max_examples=25, suppress_health_check=list(HealthCheck))
    @given(messages(contract))
    def holds(message: Contract) -> None:
        read = contract.decode(message.encode())
        assert read == message
        assert read.encode() == message.encode()

    holds()


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_an_unknown_field_is_refused_by_name(contract: type[Contract]) -> None:
    document: JsonObject = json.loads(EXAMPLES[contract].encode())
    document["replicaz"] = 1
    with pytest.raises(Invalid) as caught:
        contract.decode(json.dumps(document).encode())
    assert [fault.field for fault in caught.value.faults] == ["replicaz"]
    assert "not known here" in caught.value.faults[0].message


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_every_part_refuses_unknown_fields_too(contract: type[Contract]) -> None:
    for part in models_within(contract).values():
        assert part.model_config["extra"] == "forbid", part.__name__


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"text"', b"{}"])
@pytest.mark.parametrize(
    "contract",
    [contract for contract in CONTRACTS if any(f.is_required() for f in contract.model_fields.values())],
    ids=lambda contract: contract.__name__,
)
def test_rubbish_is_invalid_and_never_a_crash(contract: type[Contract], data: bytes) -> None:
    with pytest.raises(Invalid):
        contract.decode(data)


def test_types_are_unique_and_versioned() -> None:
    types = [contract.TYPE for contract in CONTRACTS]
    assert len(set(types)) == len(types)
    assert all(name.startswith("dev.brim.") and name.endswith(".v1") for name in types)


@pytest.mark.parametrize("form", [Snapshot, Delta, Heartbeat], ids=lambda form: form.__name__)
def test_a_capacity_message_says_which_of_the_three_it_is(form: type[Contract]) -> None:
    assert decode_capacity(EXAMPLES[form].encode()) == EXAMPLES[form]


def test_columns_of_unequal_length_are_refused() -> None:
    document = json.loads(EXAMPLES[Snapshot].encode())
    document["nodes"]["free"]["cpu"].append(1)
    with pytest.raises(Invalid, match="equally long"):
        decode_capacity(json.dumps(document).encode())
