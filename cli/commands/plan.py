"""`brim plan`: the scheduler's decision, without its consequences."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cli import connection, manifests
from cli.fleet_tables import shares_text
from cli.session import Session, echo_as, output_option, raise_faults, run_connected, target_options, warn
from cli.tables import Table, render
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.placement import Placement
from shared.contracts.submit import Plan, Planned
from shared.settings import load

ANSWER = 30.0  # seconds


@click.command()
@click.option("-f", "--filename", "files", multiple=True, help="File, folder, or -; without, all that is desired now.")
@click.option("-n", "--namespace", help="For objects that name none.")
@click.option(
    "--fleet", type=click.Path(dir_okay=False, path_type=Path), help="Plan for this fleet file; nothing runs."
)
@click.option(
    "--previous",
    type=click.Path(dir_okay=False, path_type=Path),
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
        planned = _ask(wanted, server, data)
    else:
        if not files:
            raise click.UsageError("--fleet FILE needs -f FILE: workloads and policies to plan")
        from cli import offline  # the scheduler's core takes a while to load, and only this needs it

        planned = offline.plan(fleet, manifests.read_all(files, namespace=namespace), previous)
    raise_faults(planned.faults)
    for warning in planned.warnings:
        warn(f"warning: {warning}")
    _show(planned.placements, output)


def _ask(wanted: list[JsonObject], server: str | None, data: Path | None) -> Planned:
    target = connection.find(load(), server=server, data=data)
    request = Plan(manifests=json.dumps(wanted) if wanted else "")

    async def ask(session: Session) -> Planned:
        return Planned.decode(await session.bus.request(subjects.PLAN, request.encode(), timeout=ANSWER))

    return run_connected(target, ask)


def _show(placements: tuple[Placement, ...], output: str | None) -> None:
    if output:
        echo_as(output, {"placements": [summary(placement) for placement in placements]})
        return
    rows = tuple(
        (
            placement.ref.kind,
            placement.ref.namespace,
            placement.ref.name,
            str(placement.wanted),
            shares_text(placement),
            str(placement.pending),
            "; ".join(reason.message for reason in placement.reasons),
        )
        for placement in placements
    )
    if rows:
        click.echo(render(Table(("KIND", "NAMESPACE", "NAME", "WANTED", "MEMBERS", "PENDING", "REASONS"), rows)))
    else:
        warn("Nothing would be placed: no policy selects any of these objects, or nothing would change")


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
