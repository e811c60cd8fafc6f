"""`brim get`: tables of what the fleet wants, and of what its members hold."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import anyio
import click

from cli import colours, fleet_lists, reading
from cli.completion import complete_types, complete_words
from cli.fleet_lists import Listing, Query
from cli.json_values import labels_of, name_of, table_of, text
from cli.kinds import (
    COST_WORDS,
    IN_MEMBERS,
    PLACEMENT_WORDS,
    POLICY_KINDS,
    POLICY_WORDS,
    POOL,
    Kind,
    find_kind,
    require_kind,
)
from cli.naming import split
from cli.options import member_option, namespace_option
from cli.session import Session, connected, echo_as, output_option, warn
from cli.tables import MemberObject, Table, changed_rows, member_table, render, with_labels
from shared.contracts.annotations import MEMBER_ANNOTATION
from shared.contracts.base import JsonObject
from shared.errors import BrimError, NotFound, Retryable
from simulator import selectors
from simulator.selectors import LabelSelector

WATCH_EVERY = 1.0  # seconds between two looks; what did not change is not printed again

View = Callable[[Session, Query], Awaitable[Listing]]


@dataclass(frozen=True, slots=True)
class Where:
    """all_members: -M; member: -m."""

    all_members: bool
    member: str | None


@click.command()
@click.argument("type_", metavar="TYPE", shell_complete=complete_types)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_words)
@namespace_option
@click.option("-A", "--all-namespaces", is_flag=True, help="Look in all namespaces.")
@click.option("-M", "--all-members", is_flag=True, help="What all members hold, instead of the fleet's own view.")
@member_option
@click.option(
    "-l",
    "--selector",
    default="",
    metavar="SELECTOR",
    help="Only objects with these labels: app=web,tier!=db,zone in (a,b),!legacy.",
)
@click.option("-L", "--label-columns", multiple=True, metavar="KEY", help="A column for the label of this key.")
@click.option("--show-labels", is_flag=True, help="A column for all labels.")
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
    label_columns: tuple[str, ...],
    show_labels: bool,
    watch: bool,
    no_headers: bool,
    output: str | None,
) -> None:
    """Show objects of the fleet: deploy, statefulset, job, pod, node, cluster, policy, placement, pool, cost, …

    Without -M or -m, workloads show the fleet's own view: replicas desired, placed, ready, pending. Pods, nodes, pools
    and events are always looked up in the members. The status is not 0 where a named object was found nowhere, or a
    member did not answer.

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
    keys = [key for keys in label_columns for key in keys.split(",") if key]
    looks = [
        _labelled(_look(session, kind, replace(query, names=chosen), Where(all_members, member)), keys, show_labels)
        for kind, chosen in _chosen(type_, names)
    ]
    if watch:
        if len(looks) > 1:
            raise click.UsageError("-w watches one type at a time")
        await _watch(looks[0], query, output, header=not no_headers)
        return
    listings = [await look() for look in looks]
    for listing in listings:
        for message in listing.problems:
            warn(message)
    for number, listing in enumerate(merged(listings) if output in ("json", "yaml") else listings):
        if number and output != "name":
            click.echo()
        _show(listing, query, output, header=not no_headers)
    if any(listing.failed for listing in listings):
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


def parse_selector(text: str) -> LabelSelector:
    """As kubectl reads -l. Raises a usage error."""
    try:
        return selectors.parse_labels(text)
    except ValueError as error:
        raise click.UsageError(f"-l {text!r}: {error}") from None


def _look(session: Session, type_: str, query: Query, where: Where) -> Callable[[], Awaitable[Listing]]:
    word = type_.lower()
    kind = POOL if word in POOL.words else find_kind(type_)
    view = _view(word, kind)
    if view is not None:
        return lambda: view(session, query)
    in_members = where.all_members or where.member is not None
    if in_members or (kind is not None and kind.plural in IN_MEMBERS):
        sure = kind or require_kind(type_)
        return lambda: _in_members(session, sure, query, where)
    return lambda: fleet_lists.objects(session, type_, query)


def _labelled(
    look: Callable[[], Awaitable[Listing]], keys: Sequence[str], every: bool
) -> Callable[[], Awaitable[Listing]]:
    async def labelled() -> Listing:
        listing = await look()
        labels = [labels_of(found) for found in listing.objects]
        return replace(listing, table=with_labels(listing.table, labels, keys, every=every))

    return labelled if keys or every else look


def _view(word: str, kind: Kind | None) -> View | None:
    """The fleet's own view of a type that no member holds."""
    if word in POLICY_WORDS:
        return fleet_lists.policies
    if word in PLACEMENT_WORDS:
        return fleet_lists.placements
    if word in COST_WORDS:
        return fleet_lists.costs
    if kind is not None and kind.kind == "Cluster":
        return fleet_lists.clusters
    if kind is not None and kind.kind in POLICY_KINDS:
        return functools.partial(fleet_lists.policies, kinds={kind.kind})
    return None


async def _in_members(session: Session, kind: Kind, query: Query, where: Where) -> Listing:
    members = await reading.member_ids(session.bus, where.member)
    found: list[MemberObject] = []
    problems: list[str] = []
    failed = False
    for name in query.names or ("",):
        some, broken = await reading.member_objects(
            session.bus, members, kind, namespace=query.namespace, name=name, selector=query.selector
        )
        found += [entry for entry in some if query.labels.matches(labels_of(entry.manifest))]
        problems += [_problem(kind, member, name, error) for member, error in broken]
        absent = bool(name) and not some
        failed = failed or absent or any(not isinstance(error, NotFound) for _, error in broken)
    if kind.plural == "events":
        found.sort(key=lambda entry: text(entry.manifest, "lastTimestamp") or text(entry.manifest, "eventTime"))
    namespaces = not query.namespace and kind.namespaced
    return Listing(
        table=fleet_lists.pool_table(found)
        if kind is POOL
        else member_table(kind.resource, found, session.now, wide=query.wide, namespaces=namespaces),
        objects=tuple(_with_member(entry) for entry in found),
        names=tuple(f"{entry.member}: {kind.resource}/{name_of(entry.manifest)}" for entry in found),
        problems=tuple(problems),
        failed=failed,
        single=len(query.names) == 1,
        namespaced=kind.namespaced,
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
    first: JsonObject = {key: entry.manifest[key] for key in ("apiVersion", "kind") if key in entry.manifest}
    return {**first, **entry.manifest, "metadata": {**known, "annotations": dict(annotations)}}


def _show(
    listing: Listing, query: Query, output: str | None, *, header: bool, only: Sequence[int] | None = None
) -> None:
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
        click.echo(render(listing.table, header=header, only=only, paint=colours.cell))
    elif not listing.problems:
        where = f" in {query.namespace} namespace" if listing.namespaced and query.namespace else ""
        warn(f"No resources found{where}")


async def _watch(look: Callable[[], Awaitable[Listing]], query: Query, output: str | None, *, header: bool) -> None:
    """Show all once, then only what changed or went. Failures are said once, not every second, and do not end it."""
    before: Listing | None = None
    said: frozenset[str] = frozenset()
    while True:
        try:
            listing = await look()
        except Retryable as error:
            problems: tuple[str, ...] = (str(error),)
        else:
            problems = listing.problems
            _show_change(before, listing, query, output, header=header)
            before = listing
        for message in problems:
            if message not in said:
                warn(message)
        said = frozenset(problems)
        await anyio.sleep(WATCH_EVERY)


def _show_change(before: Listing | None, now: Listing, query: Query, output: str | None, *, header: bool) -> None:
    places = changed_rows(before.table if before is not None else None, now.table)
    if places:
        _show(now, query, output, header=header and before is None, only=places)
    if before is None or output not in (None, "wide"):
        return
    there = set(now.keys)
    gone = [place for place, key in enumerate(before.keys) if key not in there]
    if gone:
        click.echo(render(with_mark(before.table, "(gone)"), header=False, only=gone, paint=colours.cell))


def with_mark(table: Table, mark: str) -> Table:
    """The table with a last column of its own that holds the mark in every row."""
    return Table((*table.columns, ""), tuple((*row, mark) for row in table.rows))
