"""How messages name objects, and the order that fences one decision from another."""

from __future__ import annotations

from typing import Self

from shared.contracts.base import JsonObject, Part


class ObjectRef(Part):
    """One Kubernetes object, wherever it lives. `namespace` is empty for cluster scope."""

    group: str = ""
    version: str
    kind: str
    namespace: str = ""
    name: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes two refs the same object: (kind, group, namespace, name); the version does not."""
        return (self.kind, self.group, self.namespace, self.name)

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    @classmethod
    def of(cls, manifest: JsonObject) -> Self:
        """The ref of a manifest whose apiVersion, kind and metadata are known to be sound."""
        group, _, version = str(manifest["apiVersion"]).rpartition("/")
        metadata = manifest["metadata"]
        assert isinstance(metadata, dict)
        return cls(
            group=group,
            version=version,
            kind=str(manifest["kind"]),
            namespace=str(metadata.get("namespace") or ""),
            name=str(metadata["name"]),
        )


class Order(Part):
    """When a decision was taken: the writer's lease epoch, then the object's own counter. Newer is greater."""

    epoch: int = 0
    counter: int = 0

    def __lt__(self, other: Order) -> bool:
        return (self.epoch, self.counter) < (other.epoch, other.counter)

    def __str__(self) -> str:
        return f"{self.epoch}.{self.counter}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The order in an annotation, "3.17". Raises ValueError on anything else."""
        epoch, _, counter = text.partition(".")
        return cls(epoch=int(epoch), counter=int(counter))
