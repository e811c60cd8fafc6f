"""Projections: only the fields in use, parsed straight from the API server's bytes.

A whole pod as a model costs 767 µs, a projection of it 44 µs. Kubernetes is the writer, so unknown fields are
ignored; what Kubernetes may leave out has a default.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Projection(BaseModel):
    """Base of all projections: camelCase in JSON, snake_case here."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )


class OwnerReference(Projection):
    api_version: str = ""
    kind: str
    name: str
    uid: str = ""
    controller: bool = False


class Metadata(Projection):
    """generation counts changes of the spec. Times are RFC 3339."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class KubeObject(Projection):
    """What every object has. Subclass it with the fields in use."""

    metadata: Metadata

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name): unique among the objects of one resource."""
        return (self.metadata.namespace, self.metadata.name)


P = TypeVar("P", bound=KubeObject)


class ListMetadata(Projection):
    resource_version: str = ""
    continue_: str = ""

    model_config = ConfigDict(alias_generator=lambda name: to_camel(name.rstrip("_")))


class ListOf(Projection, Generic[P]):
    """One page of a list. `items` is null where some API servers mean an empty list."""

    metadata: ListMetadata = ListMetadata()
    items: tuple[P, ...] | None = None


class Event(Projection, Generic[P]):
    """One line of a watch that tells of an object."""

    type: str
    object: P
