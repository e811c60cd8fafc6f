"""Manifests from files, folders and standard input, all checked before anything is sent."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from cli.json_values import text
from cli.kinds import CLUSTER_SCOPED
from shared import fleet
from shared.contracts.base import JsonObject
from shared.contracts.cluster import cluster_of
from shared.documents import read
from shared.errors import Fault, Invalid, Misconfigured

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "-"


def read_all(paths: Sequence[str], *, namespace: str | None) -> list[JsonObject]:
    """Every object in the files, in order. Folders give their .yaml, .yml and .json files by name.

    namespace: for namespaced objects that name none. Raises Invalid with a fault per document that cannot be
    read, Misconfigured where a path is no file or there is nothing in them.
    """
    faults: list[Fault] = []
    found: list[JsonObject] = []
    for source, content in _contents(paths):
        try:
            found += parse(content, source=source)
        except Invalid as error:
            faults += error.faults
    if faults:
        raise Invalid(faults)
    if not found:
        raise Misconfigured(f"there are no objects in {', '.join(paths)}: give files with Kubernetes manifests")
    return [_in_namespace(manifest, namespace) for manifest in found]


def parse(content: bytes, *, source: str) -> list[JsonObject]:
    """Objects of one text, read as the intake reads it; a fleet file gives its members. Raises Invalid."""
    documents, faults = read(content)
    if faults:
        raise Invalid([replace(fault, object=f"{source}, {fault.object}") for fault in faults])
    return [
        manifest
        for document in documents
        for manifest in (
            _members(document.manifest, f"{source}, {document.place}")
            if text(document.manifest, "kind") == "Fleet"
            else [document.manifest]
        )
    ]


def _members(value: JsonObject, where: str) -> list[JsonObject]:
    """The members of a fleet file as objects. Simulated ones live only where the simulator runs."""
    members = fleet.parse(json.dumps(value), source=where).members
    simulated = [
        Fault(where, f"members[{number}]", f"{member.id} is simulated: `brim up --fleet FILE` runs it")
        for number, member in enumerate(members)
        if member.simulated is not None
    ]
    if simulated:
        raise Invalid(simulated)
    return [cluster_of(member).to_manifest() for member in members]


def _contents(paths: Sequence[str]) -> list[tuple[str, bytes]]:
    return [content for path in paths for content in _content(path)]


def _content(path: str) -> list[tuple[str, bytes]]:
    if path == STDIN:
        if sys.stdin.isatty():
            click.echo("Reading manifests from standard input; Ctrl-D ends them", err=True)
        return [("standard input", sys.stdin.buffer.read())]
    if "://" in path:
        raise Misconfigured(
            f"{path} is an address, not a file: fetch it first, as in `curl -s {path} | brim apply -f -`"
        )
    place = Path(path)
    files = sorted(file for file in place.iterdir() if file.suffix in SUFFIXES) if place.is_dir() else [place]
    if not files:
        raise Misconfigured(f"folder {path} holds no {', '.join(SUFFIXES)} file")
    return [(str(file), _bytes(file)) for file in files]


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Misconfigured(f"{file}: {error.strerror}; give a file, a folder, or - for standard input") from None


def _in_namespace(manifest: JsonObject, namespace: str | None) -> JsonObject:
    metadata = manifest.get("metadata")
    if namespace is None or not isinstance(metadata, dict) or metadata.get("namespace"):
        return manifest
    if text(manifest, "kind") in CLUSTER_SCOPED or text(manifest, "kind").startswith("Cluster"):
        return manifest
    return {**manifest, "metadata": {**metadata, "namespace": namespace}}
