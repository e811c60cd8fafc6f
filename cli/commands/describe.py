"""`brim describe`: one object, with all that is known of it."""

from __future__ import annotations

import click
import yaml

from cli import reading
from cli.commands.explain import placement_history
from cli.commands.get import IN_MEMBERS
from cli.explain import explanation
from cli.fleet_tables import object_of, status_table
from cli.json_values import objects_of, text
from cli.kinds import Kind, find_kind, require_kind
from cli.naming import find_desired, namespace_option, split
from cli.session import Session, connected, warn
from cli.tables import NONE, MemberObject, Table, render
from shared.contracts.base import JsonObject
from shared.contracts.read import Read
from shared.errors import NotFound
from simulator.columns import age

HIDDEN = ("managedFields",)


@click.command()
@click.argument("words", metavar="TYPE NAME", nargs=-1, required=True)
@namespace_option
@click.option("-m", "--member", metavar="MEMBER", help="The object as one member holds it.")
@connected
async def describe(session: Session, words: tuple[str, ...], namespace: str, member: str | None) -> None:
    """Show one object: what is wanted, what was decided, how it fares in each member; with -m, the member's own.

    \b
    Examples:
      brim describe deploy qwen3 -n test
      brim describe pod qwen3-5665b88779-7kx2p -n test -m idc
    """
    for word, name in split(words):
        kind = find_kind(word) if word else None
        if member is not None or (kind is not None and kind.plural in IN_MEMBERS):
            click.echo(await _in_members(session, kind or require_kind(word), name, namespace, member))
        else:
            click.echo(await _in_fleet(session, word, name, namespace))


async def _in_fleet(session: Session, word: str, name: str, namespace: str) -> str:
    workload = await reading.workload(session.bus, await find_desired(session.bus, word, name, namespace))
    parts = [explanation(workload, await placement_history(session.bus, workload.desired.ref), session.now)]
    if workload.statuses or workload.outcomes:
        parts.append("Members\n" + render(status_table(workload, session.now)))
    parts.append("Manifest\n" + _yaml(object_of(workload.desired)))
    return "\n\n".join(parts)


async def _in_members(session: Session, kind: Kind, name: str, namespace: str, member: str | None) -> str:
    members = await reading.member_ids(session.bus, member)
    found, failed = await reading.member_objects(session.bus, members, kind, namespace=namespace, name=name)
    for where, error in failed:
        if not isinstance(error, NotFound):
            warn(f"cluster({where}): {error}")
    if not found:
        where = member or "any member"
        raise NotFound(f'{kind.resource} "{name}" not found in {where} (namespace {namespace!r})')
    return "\n\n".join([await _described(session, entry, kind) for entry in found])


async def _described(session: Session, entry: MemberObject, kind: Kind) -> str:
    namespace = text(entry.manifest, "metadata", "namespace")
    read = Read(verb="events", resource=kind.plural, namespace=namespace, name=text(entry.manifest, "metadata", "name"))
    answer = await reading.ask_member(session.bus, entry.member, read)
    rows = tuple(
        (
            text(event, "type") or NONE,
            text(event, "reason") or NONE,
            age(text(event, "lastTimestamp") or text(event, "eventTime") or None, session.now),
            text(event, "message"),
        )
        for event in objects_of({"items": list(answer.items)}, "items")
    )
    events = render(Table(("TYPE", "REASON", "AGE", "MESSAGE"), rows)) if rows else NONE
    alias = f" ({entry.alias})" if entry.alias else ""
    return f"Cluster: {entry.member}{alias}\n{_yaml(entry.manifest)}\n\nEvents\n{events}"


def _yaml(manifest: JsonObject) -> str:
    metadata = manifest.get("metadata")
    if isinstance(metadata, dict):
        manifest = {**manifest, "metadata": {key: value for key, value in metadata.items() if key not in HIDDEN}}
    return yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True).rstrip()
