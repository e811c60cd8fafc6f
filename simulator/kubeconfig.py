"""One kubeconfig for all simulated members: a context per member id, and per alias where that differs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import yaml

from simulator.objects import Object


def kubeconfig(entries: Iterable[tuple[str, str, str, str]]) -> Object:
    """The document. entries: (member id, alias, url, bearer token)."""
    clusters, users, contexts = [], [], []
    first = ""
    for member, alias, url, token in entries:
        first = first or member
        clusters.append({"name": member, "cluster": {"server": url}})
        users.append({"name": member, "user": {"token": token}})
        for name in dict.fromkeys((member, alias or member)):
            context = {"cluster": member, "user": member, "namespace": "default"}
            contexts.append({"name": name, "context": context})
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "clusters": clusters,
        "users": users,
        "contexts": contexts,
        "current-context": first,
    }


def write(document: Object, path: Path) -> None:
    """Write it whole or not at all, readable by its owner alone (it holds tokens)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        yaml.safe_dump(document, file, sort_keys=False)
    draft.replace(path)
