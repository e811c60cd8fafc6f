"""`brim get`: tables of what the fleet wants, and of what its members hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import anyio
import click

from cli import fleet_lists, reading
from cli.fleet_lists import Listing, Query
from cli.json_values import table_of
from cli.kinds import Kind, find_kind, require_kind
from cli.naming import DEFAULT_NAMESPACE, split
from cli.session import Session, connected, echo_as, output_option, warn
from cli.tables import MemberObject, Table, changed_rows, matches, member_table, render
from shared.contracts.annotations import MEMBER_ANNOTATION
from shared.contracts.base import JsonObject
from shared.errors import BrimError, NotFound, Retryable

WATCH_EVERY = 1.0  # seconds between two looks; what did not change is not printed again

# These have no view of their own in the fleet: they are looked up in the members.
IN_MEMBERS = frozenset({"pods", "nodes", "replicasets", "events", "pools", "daemonsets"})
POOL = Kind("", "v1", "Pool", "pools", ("pool", "nodepool", "nodepools"), namespaced=False)

VIEWS: Mapping[str, Callable[[Session, Query], Awaitable[Listing]]] = {
    "policy": fleet_lists.policies,
    "policies": fleet_lists.policies,
    "placement": fleet_lists.placements,
    "placements": fleet_lists.placements,
    "cluster": fleet_lists.clusters,
    "clusters": fleet_lists.clusters,
    "member": fleet_lists.clusters,
    "members": fleet_lists.clusters,
}


@dataclass(frozen=True, slots=True)
class Where:
    """all_members: -M; member: -m."""

    all_members: bool
    member: str | None


@click.command()
@click.argument("type_", metavar="TYPE")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("-n", "--namespace", default=DEFAULT_NAMESPACE, show_default=True, help="Namespace to look in.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Look in all namespaces.")
@click.option("-M", "--all-members", is_flag=True, help="What all members hold, instead of the fleet's own view.")
@click.option("-m", "--member", metavar="MEMBER", help="What one member holds.")
@click.option("-l", "--selector", default="", metavar="KEY=VALUE,...", help="Only objects with these labels.")
@click.option("-w", "--watch", is_flag=True, help="Go on and print what changes, until Ctrl-C.")
@click.option("--no-headers", is_flag=True, help="Leave the headings out.")
@output_option("wide", "json", "yaml", "name")
@connected
async def get(
    session: Session,
    type_: str,
    names: tuple[str, ...],
    namespace: str,
    all_namespaces: bool,
    all_members: bool,
    member: str | None,
    selector: str,
    watch: bool,
    no_headers: bool,
    output: str | None,
) -> None:
    """Show objects of the fleet: deploy, statefulset, job, pod, node, cluster, policy, placement, pool, …

    Without -M or -m, workloads show the fleet's own view: replicas desired, placed, ready, pending.
    Pods, nodes and pools are always looked up in the members.

    \b
    Examples:
      brim get deploy,svc -A
      brim get pods -n test -M -o wide
      brim get nodes -m ack -w
      brim get deploy qwen3 -n test -o json
    """
    query = Query(
        namespace="" if all_namespaces else namespace,
        labels=parse_selector(selector),
        selector=selector,
        wide=output == "wide",
    )
    looks = [
        _look(session, kind, replace(query, names=chosen), Where(all_members, member))
        for kind, chosen in _chosen(type_, names)
    ]
    if watch:
        if len(looks) > 1:
            raise click.UsageError("-w watches one type at a time")
        await _watch(looks[0], output, header=not no_headers)
        return
    listings = [await look() for look in looks]
    for listing in listings:
        for message in listing.problems:
            warn(message)
    for number, listing in enumerate(merged(listings) if output in ("json", "yaml") else listings):
        if number and output != "name":
            click.echo()
        _show(listing, output, header=not no_headers)
    if any(listing.problems for listing in listings) and not any(listing.objects for listing in listings):
        raise click.exceptions.Exit(1)


def _chosen(type_: str, names: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
    """(type, names) of `deploy web api`, `deploy/web svc/web` or `deploy,svc`."""
    if "/" in type_ or any("/" in name for name in names):
        return [(kind, (name,)) for kind, name in split((type_, *names))]
    return [(kind, names) for kind in type_.split(",") if kind]


def merged(listings: Sequence[Listing]) -> list[Listing]:
    """One listing of all: what is printed as JSON or YAML must be one document."""
    if len(listings) == 1:
        return list(listings)
    objects = tuple(found for listing in listings for found in listing.objects)
    return [Listing(listings[0].table, objects, ())]


def parse_selector(selector: str) -> dict[str, str | None]:
    """Equality-based: `app=web,tier`. A key alone asks that it is there. Raises a usage error for other forms."""
    wanted: dict[str, str | None] = {}
    for part in filter(None, (part.strip() for part in selector.split(","))):
        key, separator, value = part.partition("=")
        if not key or "!" in key or " " in part:
            raise click.UsageError(f"-l {part!r}: only KEY=VALUE and KEY are understood")
        wanted[key] = value.removeprefix("=") if separator else None
    return wanted


def _look(session: Session, type_: str, query: Query, where: Where) -> Callable[[], Awaitable[Listing]]:
    view = VIEWS.get(type_.lower())
    if view is not None:
        return lambda: view(session, query)
    kind = POOL if type_.lower() in POOL.words else find_kind(type_)
    in_members = where.all_members or where.member is not None
    if in_members or (kind is not None and kind.plural in IN_MEMBERS):
        sure = kind or require_kind(type_)
        return lambda: _in_members(session, sure, query, where)
    return lambda: fleet_lists.objects(session, type_, query)


async def _in_members(session: Session, kind: Kind, query: Query, where: Where) -> Listing:
    members = await reading.member_ids(session.bus, where.member)
    found: list[MemberObject] = []
    problems: list[str] = []
    for name in query.names or ("",):
        some, broken = await reading.member_objects(
            session.bus, members, kind, namespace=query.namespace, name=name, selector=query.selector
        )
        found += [entry for entry in some if matches(fleet_lists.labels_of(entry.manifest), query.labels)]
        problems += [_problem(kind, member, name, error) for member, error in broken]
    namespaces = not query.namespace and kind.namespaced
    return Listing(
        table=fleet_lists.pool_table(found)
        if kind is POOL
        else member_table(kind.resource, found, session.now, wide=query.wide, namespaces=namespaces),
        objects=tuple(_with_member(entry) for entry in found),
        names=tuple(f"{entry.member}: {kind.resource}/{fleet_lists.name_of(entry.manifest)}" for entry in found),
        problems=tuple(problems),
        single=len(query.names) == 1,
    )


def _problem(kind: Kind, member: str, name: str, error: BrimError) -> str:
    """Word for word as the field's own tool says it, so that scripts go on working."""
    if isinstance(error, NotFound) and name:
        return f'cluster({member}): {kind.resource} "{name}" not found'
    return f"cluster({member}): {error}"


def _with_member(entry: MemberObject) -> JsonObject:
    """The object, annotated with its member, as nothing else in it says where it lives."""
    metadata = entry.manifest.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    annotations = {**table_of(known, "annotations"), MEMBER_ANNOTATION: entry.member}
    return {**entry.manifest, "metadata": {**known, "annotations": dict(annotations)}}


def _show(listing: Listing, output: str | None, *, header: bool, only: Sequence[int] | None = None) -> None:
    """only: places of what is to be shown; all by default."""
    places = range(len(listing.objects)) if only is None else only
    if output in ("json", "yaml"):
        found = [listing.objects[place] for place in places]
        one = found[0] if listing.single and len(found) == 1 else None
        echo_as(output, one or {"apiVersion": "v1", "kind": "List", "items": list(found)})
    elif output == "name":
        for place in places:
            click.echo(listing.names[place])
    elif listing.table.rows:
        click.echo(render(listing.table, header=header, only=only))
    elif not listing.problems:
        warn("No resources found")


async def _watch(look: Callable[[], Awaitable[Listing]], output: str | None, *, header: bool) -> None:
    """Show all once, then only what changed. Failures are said once, not every second, and do not end it."""
    before: Table | None = None
    said: frozenset[str] = frozenset()
    while True:
        try:
            listing = await look()
        except Retryable as error:
            problems: tuple[str, ...] = (str(error),)
        else:
            problems = listing.problems
            places = changed_rows(before, listing.table)
            if places:
                _show(listing, output, header=header and before is None, only=places)
            before = listing.table
        for message in problems:
            if message not in said:
                warn(message)
        said = frozenset(problems)
        await anyio.sleep(WATCH_EVERY)
