"""Serverless instances of one member, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from services.inventory.core.facts import Key


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """pod, uid: of the pod that it is for. node: the virtual node that bought it. size: as in `shared.eci.Spec.name`,
    empty while nothing was chosen.

    since, until: Unix seconds between which it is billed; None while that has not begun, or not ended.
    """

    namespace: str
    name: str
    pod: str = ""
    uid: str = ""
    node: str = ""
    size: str = ""
    spot: bool = False
    since: float | None = None
    until: float | None = None

    @property
    def key(self) -> Key:
        return (self.namespace, self.name)

    @property
    def pod_key(self) -> Key:
        return (self.namespace, self.pod)
