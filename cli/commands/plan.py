"""`brim plan`: the scheduler's decision, without its consequences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from cli import manifests, reading
from cli.fleet_tables import is_whole, shares_text
from cli.session import (
    Session,
    echo_as,
    output_option,
    raise_faults,
    run_connected,
    target_of,
    target_options,
    warn,
)
from cli.tables import NONE, Table, joined, render
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.placement import Placement, Reason
from shared.contracts.submit import Plan, Planned
from shared.documents import Document

ANSWER = 30.0  # seconds

Key = tuple[str, str, str]  # (kind, namespace, name)


@click.command()
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    type=click.Path(),
    metavar="FILE",
    help="File, folder, or -; without, all that is desired now.",
)
@click.option("-n", "--namespace", metavar="NAMESPACE", help="For objects that name none.")
@click.option(
    "--fleet",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Plan for this fleet file; nothing runs.",
)
@click.option(
    "--previous",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What an earlier `plan -o json` printed: replicas that run already, with --fleet.",
)
@output_option("json", "yaml")
@target_options
def plan(
    files: tuple[str, ...],
    namespace: str | None,
    fleet: Path | None,
    previous: Path | None,
    output: str | None,
    server: str | None,
    data: Path | None,
) -> None:
    """Show what would be decided, without publishing anything: for the live fleet, or for a fleet file.

    -o json prints {"placements": [{"kind", "namespace", "name", "members": {"idc": 2}, "pending": 0,
    "reasons": [{"code", "message", "members"}]}]}.

    \b
    Examples:
      brim plan -f qwen3.yaml -f policies/
      brim plan --fleet hybrid.yaml -f qwen3.yaml -f policies/ -o json > before.json
      brim plan --fleet hybrid.yaml --previous before.json -f scaled.yaml -f policies/
    """
    if fleet is None:
        if previous is not None:
            raise click.UsageError("--previous goes with --fleet FILE: a live fleet knows its placements")
        wanted = manifests.read_all(files, namespace=namespace) if files else []
        planned, now = _ask(wanted, server, data)
    else:
        if not files:
            raise click.UsageError("--fleet FILE needs -f FILE: workloads and policies to plan")
        from cli import offline  # the scheduler's core takes a while to load, and only this needs it

        before = offline.read_previous(previous)
        wanted = manifests.read_all(files, namespace=namespace)
        planned = offline.plan(fleet, wanted, before)
        now = {(one.kind, one.namespace, one.name): _members_text(one.members) for one in before.placements}
    raise_faults(manifests.located(planned.faults, wanted))
    for warning in planned.warnings:
        warn(f"warning: {warning}")
    _show(planned.placements, now, output)


def _ask(wanted: list[Document], server: str | None, data: Path | None) -> tuple[Planned, dict[Key, str]]:
    """The scheduler's answer, and where everything is now."""
    request = Plan(manifests=manifests.payload(wanted).decode() if wanted else "")

    async def ask(session: Session) -> tuple[Planned, dict[Key, str]]:
        planned = Planned.decode(await session.ask(subjects.PLAN, request.encode(), timeout=ANSWER))
        placements = await reading.newest(session.bus, Placement, "PLACEMENT")
        return planned, {_key(placement): shares_text(placement) for placement in placements}

    return run_connected(target_of(server, data), ask)


def _key(placement: Placement) -> Key:
    return placement.ref.kind, placement.ref.namespace, placement.ref.name


def _members_text(members: Mapping[str, int]) -> str:
    if not any(members.values()):
        return joined(members)
    return joined(f"{member}:{replicas}" for member, replicas in members.items())


def _show(placements: tuple[Placement, ...], now: Mapping[Key, str], output: str | None) -> None:
    if output:
        echo_as(output, {"placements": [summary(placement) for placement in placements]})
    elif placements:
        click.echo(page(placements, now))
    else:
        warn("Nothing would be placed: no policy selects any of these objects, or nothing would change")


def page(placements: tuple[Placement, ...], now: Mapping[Key, str]) -> str:
    """A table, and below it the reasons of each workload that has any. now: where each is at present."""
    rows = tuple(
        (
            placement.ref.kind,
            placement.ref.namespace or NONE,
            placement.ref.name,
            "-" if is_whole(placement) else str(placement.wanted),
            now.get(_key(placement), NONE),
            shares_text(placement),
            "-" if is_whole(placement) else str(placement.pending),
        )
        for placement in placements
    )
    table = Table(("KIND", "NAMESPACE", "NAME", "WANTED", "NOW", "PLANNED", "PENDING"), rows)
    told = [
        "\n".join([str(placement.ref), *(f"- {told_reason(reason)}" for reason in placement.reasons)])
        for placement in placements
        if placement.reasons
    ]
    return "\n\n".join([render(table), *told])


def told_reason(reason: Reason) -> str:
    where = f"{', '.join(reason.members)}: " if reason.members else ""
    return f"{where}{reason.message} ({reason.code})"


def summary(placement: Placement) -> JsonObject:
    """The stable form that scripts read, and `--previous` reads back."""
    return {
        "kind": placement.ref.kind,
        "namespace": placement.ref.namespace,
        "name": placement.ref.name,
        "members": {share.member: share.replicas for share in placement.shares if share.present},
        "pending": placement.pending,
        "reasons": [
            {"code": reason.code, "message": reason.message, "members": list(reason.members)}
            for reason in placement.reasons
        ],
    }
