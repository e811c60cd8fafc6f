"""brim.read.<member>: inventory's answers from its caches; single objects and logs come from the member."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from shared.contracts.base import Contract, JsonObject


class Read(Contract):
    """verb list: cached objects (projected to the fields that tables use); object: one whole object, from the
    member; events: the events of one object or a namespace; logs: the tail of a pod's log.

    resource: plural resource name ("pods", "nodes", "deployments", "pools", …) with `group`.
    limit: objects per answer; after: the name-space/name to go on behind.
    """

    TYPE: ClassVar[str] = "dev.brim.read.v1"

    verb: Literal["list", "object", "events", "logs"]
    group: str = ""
    version: str = "v1"
    resource: str = "pods"
    namespace: str = ""
    name: str = ""
    selector: str = ""
    container: str = ""
    tail: int = Field(100, ge=0, le=10_000)
    limit: int = Field(200, ge=1, le=500)
    after: str = ""


class ReadAnswer(Contract):
    """items: Kubernetes objects, sorted by namespace and name. after: set while there is more. text: logs."""

    TYPE: ClassVar[str] = "dev.brim.read-answer.v1"

    items: tuple[JsonObject, ...] = ()
    after: str = ""
    text: str = ""
    synced_at: float = 0.0
