"""Manifests from files, folders and standard input, all checked before anything is sent."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import click

from cli.json_values import text
from cli.kinds import CLUSTER_SCOPED
from shared.contracts.base import JsonObject
from shared.contracts.cluster import members_in
from shared.contracts.outcome import FieldFault
from shared.documents import Document, read
from shared.errors import Fault, Invalid, Misconfigured

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "-"

_ITEM = re.compile(r"document 1, item (\d+)")  # how the intake calls the objects of one JSON array


def read_all(paths: Sequence[str], *, namespace: str | None) -> list[Document]:
    """Every object in the files, in order, with its place. Folders give their .yaml, .yml and .json files by name.

    namespace: for namespaced objects that name none. Raises Invalid with a fault per document that cannot be
    read, Misconfigured where a path is no file or there is nothing in them.
    """
    faults: list[Fault] = []
    found: list[Document] = []
    for source, content in _contents(paths):
        try:
            found += parse(content, source=source)
        except Invalid as error:
            faults += error.faults
    if faults:
        raise Invalid(faults)
    if not found:
        raise Misconfigured(f"there are no objects in {', '.join(paths)}: give files with Kubernetes manifests")
    return [replace(document, manifest=_in_namespace(document.manifest, namespace)) for document in found]


def payload(documents: Sequence[Document]) -> bytes:
    """All of them as one message: what is wrong with any keeps out all."""
    return json.dumps([one.manifest for one in documents], separators=(",", ":"), ensure_ascii=False).encode()


def located(faults: Iterable[FieldFault], documents: Sequence[Document]) -> list[FieldFault]:
    """Faults that the intake found in `payload(documents)`, with the places that a person knows."""

    def place(match: re.Match[str]) -> str:
        number = int(match[1]) - 1
        return documents[number].place if number < len(documents) else match[0]

    return [
        fault.model_copy(update={"object": _ITEM.sub(place, fault.object), "message": _ITEM.sub(place, fault.message)})
        for fault in faults
    ]


def parse(content: bytes, *, source: str) -> list[Document]:
    """Objects of one text, read as the intake reads it; a fleet file gives its members. Raises Invalid."""
    documents, faults = read(content)
    if faults:
        raise Invalid([replace(fault, object=f"{source}, {fault.object}") for fault in faults])
    placed = [replace(document, place=f"{source}, {document.place}") for document in documents]
    return [one for document in placed for one in members_in(document)]


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
