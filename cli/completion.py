"""What a shell may complete beside commands and options: types, and the fleet's own names.

A name is asked of the brim that the words on the command line mean. Where none answers at once, nothing is completed:
a key press must neither hang nor print errors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import anyio
import click

from cli import connection, reading
from cli.json_values import name_of
from cli.kinds import IN_MEMBERS, KINDS, POOL, Kind, find_kind
from cli.naming import DEFAULT_NAMESPACE, fits
from cli.session import target_of
from shared.bus import Bus
from shared.contracts.schema import schemas
from shared.errors import BrimError

PATIENCE = 1.0  # seconds in which a brim must answer
VIEWS = ("placements", "policies", "pools")

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def complete_types(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return _starting(incomplete, [*(kind.plural for kind in KINDS), *VIEWS])


def complete_words(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Of `TYPE NAME...` and `TYPE/NAME...`: the types first, then the names of the type given."""
    given = [context.params.get("type_"), *(context.params.get(parameter.name or "") or ())]
    words = [str(word) for word in given if word]
    if "/" in incomplete:
        word = incomplete.partition("/")[0]
        return _starting(incomplete, (f"{word}/{name}" for name in _names(context, word)))
    if any("/" in word for word in words):
        return []
    return _starting(incomplete, _names(context, words[0])) if words else complete_types(context, parameter, incomplete)


def complete_workloads(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Of `WORKLOAD`: the names of what has replicas; after a type or a slash as in `complete_words`."""
    if "/" in incomplete or context.params.get(parameter.name or ""):
        return complete_words(context, parameter, incomplete)

    async def ask(bus: Bus) -> list[str]:
        refs = [entry.ref for entry in await reading.desired_objects(bus)]
        return [
            f"{ref.kind.lower()}/{ref.name}"
            for ref in refs
            if reading.has_replicas(ref) and ref.namespace == _namespace(context)
        ]

    found = _asked(context, ask)
    return _starting(incomplete, [*found, *(name.partition("/")[2] for name in found)])


def complete_members(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    async def ask(bus: Bus) -> list[str]:
        found = await reading.clusters(bus)
        return [name for entry in found for name in (entry.id, entry.spec.alias) if name]

    return _starting(incomplete, _asked(context, ask))


def complete_namespaces(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    async def ask(bus: Bus) -> list[str]:
        found = {entry.ref.namespace for entry in await reading.desired_objects(bus)} - {""}
        return sorted(found | {DEFAULT_NAMESPACE})

    return _starting(incomplete, _asked(context, ask))


def complete_schemas(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return _starting(incomplete, ["fleet", *sorted(schemas())])


def _names(context: click.Context, word: str) -> list[str]:
    kind = POOL if word.lower() in POOL.words else find_kind(word)
    member = context.params.get("member")

    async def in_members(bus: Bus, sure: Kind) -> list[str]:
        members = await reading.member_ids(bus, member)
        found, _ = await reading.member_objects(bus, members, sure, namespace=_namespace(context))
        return [name_of(entry.manifest) for entry in found]

    async def ask(bus: Bus) -> list[str]:
        if kind is not None and (member or context.params.get("all_members") or kind.plural in IN_MEMBERS):
            return await in_members(bus, kind)
        refs = [entry.ref for entry in await reading.desired_objects(bus)]
        return [ref.name for ref in refs if ref.namespace in ("", _namespace(context)) and fits(word, ref)]

    return _asked(context, ask)


def _namespace(context: click.Context) -> str:
    return "" if context.params.get("all_namespaces") else context.params.get("namespace") or DEFAULT_NAMESPACE


def _asked(context: click.Context, ask: Callable[[Bus], Awaitable[list[str]]]) -> list[str]:
    async def run() -> list[str]:
        with anyio.fail_after(2 * PATIENCE):
            async with connection.connect(target, timeout=PATIENCE) as bus:
                return await ask(bus)

    try:
        target = target_of(context.params.get("server"), context.params.get("data"))
        return anyio.run(run)
    except (BrimError, OSError, ExceptionGroup):
        return []


def _starting(incomplete: str, found: Iterable[str]) -> list[str]:
    return [word for word in dict.fromkeys(found) if word.startswith(incomplete)]
