"""What all of brim's own messages have in common."""

from __future__ import annotations

from typing import ClassVar, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from pydantic.alias_generators import to_camel

from shared.errors import Invalid
from shared.faults import faults_of as faults_of
from shared.faults import field_path as field_path

JsonObject: TypeAlias = dict[str, JsonValue]


class Part(BaseModel):
    """A piece of a message. brim is the writer, so an unknown field is a fault.

    What a message holds is not quoted where it cannot be read: it may be a Secret, and the fault end in a log.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )


class Manifest(Part):
    """An object as people write it, of a kind whose every field brim checks."""

    @classmethod
    def read(cls, manifest: JsonObject) -> Self:
        """The model of a manifest. Raises Invalid, naming every field that is wrong."""
        try:
            return cls.model_validate(manifest)
        except ValidationError as error:
            raise Invalid(faults_of(error, _called(manifest))) from error


def _called(manifest: JsonObject) -> str:
    """As people call it, however odd it is: kind, then namespace and name."""
    metadata = manifest.get("metadata")
    told = metadata if isinstance(metadata, dict) else {}
    name, namespace = told.get("name") or "(unnamed)", told.get("namespace")
    return f"{manifest.get('kind')} {namespace}/{name}" if namespace else f"{manifest.get('kind')} {name}"


class Contract(Part):
    """A whole message. `TYPE` is its CloudEvents type and ends in the version of its form."""

    TYPE: ClassVar[str]

    def encode(self) -> bytes:
        """The message's bytes: camelCase JSON without what is unset."""
        return self.__pydantic_serializer__.to_json(self, by_alias=True, exclude_none=True)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message. Raises Invalid, naming the fields, when the bytes are not this contract."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise Invalid(faults_of(error, cls.TYPE)) from error
