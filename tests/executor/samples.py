"""A Deployment, and a share of its replicas."""

from __future__ import annotations

from typing import Any

from shared.contracts.base import JsonObject
from shared.contracts.placement import Share


def deployment(name: str = "web", image: str = "web:1") -> JsonObject:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "test"},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": image}]},
            },
        },
    }


WEB = deployment()


def share(member: str = "idc", replicas: int = 2, **fields: Any) -> Share:
    return Share(**{"member": member, "replicas": replicas, "revision": 1, **fields})
