"""`brim describe`: one object, with all that is known of it."""

from __future__ import annotations

import click
import yaml

from cli import colours, reading
from cli.commands.explain import placement_history
from cli.completion import complete_words
from cli.describing import described_member, described_policy
from cli.explain import explanation
from cli.fleet_tables import MemberLine, object_of, status_table
from cli.json_values import name_of, namespace_of, objects_of, text
from cli.kinds import IN_MEMBERS, POLICY_KINDS, POOL, Kind, find_kind, require_kind
from cli.naming import find_desired, split
from cli.options import member_option, namespace_option
from cli.session import Session, connected, warn
from cli.tables import NONE, MemberObject, Table, render
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.capacity import decode_capacity
from shared.contracts.cluster import ClusterManifest
from shared.contracts.desired import Desired
from shared.contracts.read import Read
from shared.contracts.refs import ObjectRef
from shared.errors import NotFound
from simulator.cells import age

HIDDEN = ("managedFields",)
FIRST = ("apiVersion", "kind", "metadata", "spec")  # the rest keeps its order


@click.command()
@click.argument("words", metavar="TYPE NAME", nargs=-1, required=True, shell_complete=complete_words)
@namespace_option
@click.option("-M", "--all-members", is_flag=True, help="The object as each member holds it.")
@member_option
@connected
async def describe(
    session: Session, words: tuple[str, ...], namespace: str, all_members: bool, member: str | None
) -> None:
    """Show one object: what is wanted, what was decided, how it fares in each member; with -m or -M, the members' own.

    \b
    Examples:
      brim describe deploy qwen3 -n test
      brim describe cluster idc
      brim describe pod qwen3-5665b88779-7kx2p -n test -m idc
    """
    pages = []
    for word, name in split(words):
        kind = POOL if word.lower() in POOL.words else find_kind(word) if word else None
        if all_members or member is not None or (kind is not None and kind.plural in IN_MEMBERS):
            pages.append(await _in_members(session, kind or require_kind(word), name, namespace, member))
        else:
            pages.append(await _in_fleet(session, word, name, namespace))
    click.echo("\n\n\n".join(pages))


# -- the fleet's own view ----------------------------------------------------------------------------------------


async def _in_fleet(session: Session, word: str, name: str, namespace: str) -> str:
    ref = await _found(session, word, name, namespace)
    if ref.kind == "Cluster":
        return await _member(session, ref)
    workload = await reading.workload(session.bus, ref)
    if ref.kind in POLICY_KINDS:
        governed = [
            entry
            for entry in await reading.workloads(session.bus)
            if entry.placement is not None and entry.placement.policy == str(ref)
        ]
        page = described_policy(workload.desired, governed, session.now)
        return f"{page}\n\n{_manifest(workload.desired)}"
    history = await placement_history(session.bus, workload.desired.ref)
    parts = [explanation(workload, history, session.now, paint=colours.cell)]
    if workload.statuses or workload.outcomes:
        parts.append("Members\n" + render(status_table(workload, session.now), paint=colours.cell))
    return "\n\n".join([*parts, _manifest(workload.desired)])


async def _found(session: Session, word: str, name: str, namespace: str) -> ObjectRef:
    """A member is found by its alias too."""
    kind = find_kind(word)
    if kind is not None and kind.kind == "Cluster":
        return (await reading.member_ids(session.bus, name))[0].ref
    return await find_desired(session.bus, word, name, namespace)


async def _member(session: Session, ref: ObjectRef) -> str:
    known = await reading.workload(session.bus, ref)
    desired, eci_label = known.desired, next(iter(known.outcomes), None)
    subject = subjects.capacity(ref.name)
    messages = [
        decode_capacity(message.data)
        for message in await session.bus.history("CAPACITY", subject)
        if not message.removed
    ]
    held = [
        entry
        for entry in await reading.workloads(session.bus)
        if entry.placement is not None and any(s.member == ref.name for s in entry.placement.shares if s.present)
    ]
    line = MemberLine(ClusterManifest.read(desired.manifest), messages[-1] if messages else None, desired.created_at)
    page = described_member(line, messages, held, session.now, eci_label=eci_label, paint=colours.cell)
    return f"{page}\n\n{_manifest(desired)}"


# -- what members hold -------------------------------------------------------------------------------------------


async def _in_members(session: Session, kind: Kind, name: str, namespace: str, member: str | None) -> str:
    members = await reading.member_ids(session.bus, member)
    asked = "" if kind is POOL else name  # pools come as a list alone
    found, failed = await reading.member_objects(session.bus, members, kind, namespace=namespace, name=asked)
    found = [entry for entry in found if name_of(entry.manifest) == name]
    for where, error in failed:
        if not isinstance(error, NotFound):
            warn(f"cluster({where}): {error}")
    if not found:
        where = f"cluster({member})" if member is not None else "any member"
        space = f" (namespace {namespace!r})" if kind.namespaced else ""
        raise NotFound(f'{kind.resource} "{name}" not found in {where}{space}')
    return "\n\n\n".join([await _described(session, entry) for entry in found])


async def _described(session: Session, entry: MemberObject) -> str:
    alias = f" ({entry.alias})" if entry.alias else ""
    events = await _events(session, entry)
    return f"Cluster: {entry.member}{alias}\n{_yaml(entry.manifest)}\n\nEvents\n{events}"


async def _events(session: Session, entry: MemberObject) -> str:
    manifest = entry.manifest
    read = Read(verb="events", resource="events", namespace=namespace_of(manifest), name=name_of(manifest))
    answer = await reading.ask_member(session.bus, entry.member, read)
    about = [
        event
        for event in objects_of({"items": list(answer.items)}, "items")
        if text(event, "involvedObject", "kind") == text(manifest, "kind")
    ]
    about.sort(key=_when)
    rows = tuple(
        (
            text(event, "type") or NONE,
            text(event, "reason") or NONE,
            age(_when(event) or None, session.now),
            text(event, "message"),
        )
        for event in about
    )
    return render(Table(("TYPE", "REASON", "AGE", "MESSAGE"), rows), paint=colours.cell) if rows else NONE


def _when(event: JsonObject) -> str:
    return text(event, "lastTimestamp") or text(event, "eventTime")


def _manifest(desired: Desired) -> str:
    return "Manifest\n" + _yaml(object_of(desired))


def _yaml(manifest: JsonObject) -> str:
    ordered = {key: manifest[key] for key in FIRST if key in manifest} | manifest
    metadata = ordered.get("metadata")
    if isinstance(metadata, dict):
        ordered["metadata"] = {key: value for key, value in metadata.items() if key not in HIDDEN}
    return yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True).rstrip()
