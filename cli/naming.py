"""How commands name one object: `deploy/qwen3`, `deploy qwen3`, or, where it is clear, just `qwen3`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from cli import reading
from cli.kinds import PLACEMENT_WORDS, POLICY_KINDS, POLICY_WORDS, Kind, find_kind, require_kind
from shared.bus import Bus
from shared.contracts.refs import ObjectRef
from shared.errors import NotFound

DEFAULT_NAMESPACE = "default"
FLEET_WORDS = POLICY_WORDS | PLACEMENT_WORDS


def split(words: Sequence[str]) -> list[tuple[str, str]]:
    """(type, name) pairs of `TYPE NAME…` or `TYPE/NAME…`; a single word without a slash has no type."""
    if any("/" in word for word in words):
        pairs = [word.partition("/") for word in words]
        if any(not kind or not name for kind, _, name in pairs):
            raise click.UsageError("name every object as TYPE/NAME, or one type and then names: deploy web api")
        return [(kind, name) for kind, _, name in pairs]
    if len(words) == 1:
        return [("", words[0])]
    return [(words[0], name) for name in words[1:]]


def ref_of(kind: Kind, namespace: str, name: str) -> ObjectRef:
    """The version does not tell objects apart, so any will do where the kind's is not known."""
    return ObjectRef(
        group=kind.group,
        version=kind.version or "v1",
        kind=kind.kind,
        namespace=namespace if kind.namespaced else "",
        name=name,
    )


async def find_desired(bus: Bus, word: str, name: str, namespace: str) -> ObjectRef:
    """The ref of an object that the fleet knows. Raises NotFound, or a usage error where several fit.

    Policies are found in all their API groups, custom kinds by their own name.
    """
    refs = [entry.ref for entry in await reading.desired_objects(bus)]
    fitting = [
        ref for ref in refs if ref.name == name and ref.namespace in ("", namespace) and (not word or fits(word, ref))
    ]
    if not word:
        fitting = [ref for ref in fitting if reading.has_replicas(ref)] or fitting
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        several = ", ".join(f"{ref.kind.lower()}/{ref.name}" for ref in fitting)
        raise click.UsageError(f"several objects are named {name!r}: say which of {several}")
    if word and find_kind(word) is None and word.lower() not in FLEET_WORDS and not any(fits(word, r) for r in refs):
        require_kind(word)
    if not word and find_kind(name) is not None:
        raise click.UsageError(f"name the object too: {name} NAME, or {name}/NAME")
    what = f"{word} {name!r}" if word else repr(name)
    raise NotFound(
        f"{what} not found in namespace {namespace!r} of the fleet: `brim get {word or 'deploy'} -A` lists all"
    )


def fits(word: str, ref: ObjectRef) -> bool:
    """Whether a word for a kind means this object's."""
    if word.lower() in POLICY_WORDS:
        return ref.kind in POLICY_KINDS
    if word.lower() in PLACEMENT_WORDS:
        return ref.kind not in POLICY_KINDS and ref.kind != "Cluster"
    kind = find_kind(word)
    if kind is not None:
        return kind.kind == ref.kind
    own = ref.kind.lower()
    return word.lower() in (own, own + "s", f"{own}s.{ref.group}", f"{own}.{ref.group}")
