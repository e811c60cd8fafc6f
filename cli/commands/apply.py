"""`brim apply`: manifests to the intake, all or nothing."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cli import manifests, reading, waiting
from cli.json_values import text
from cli.options import timeout_option
from cli.session import Session, echo_as, output_option, run_connected, target_of, target_options, warn
from shared.contracts import subjects
from shared.contracts.cluster import FleetMember, strangers
from shared.contracts.submit import Answer
from shared.documents import Document
from shared.errors import TooLarge

ENVELOPE = 1024  # bytes that a message needs beside its payload


@click.command()
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    required=True,
    type=click.Path(),
    metavar="FILE",
    help="File, folder, or - for standard input; several times for several.",
)
@click.option("-n", "--namespace", metavar="NAMESPACE", help="For objects that name none.")
@click.option("--wait", is_flag=True, help="Until all of it runs: placed, applied, and Ready.")
@timeout_option
@output_option("json", "yaml", "name", otherwise="a line for each object")
@target_options
def apply(
    files: tuple[str, ...],
    namespace: str | None,
    wait: bool,
    timeout: float,
    output: str | None,
    server: str | None,
    data: Path | None,
) -> None:
    """Say what should run, and by which policies.

    Everything is checked before anything is accepted: with one fault, nothing changes. A folder gives its .yaml, .yml
    and .json files, in the order of their names.

    \b
    Examples:
      brim apply -f qwen3.yaml -f policies/ --wait
      helm template chart | brim apply -f - -n test
    """
    found = manifests.read_all(files, namespace=namespace)

    async def submit(session: Session) -> None:
        await _submit(session, found, timeout if wait else None, output)

    run_connected(target_of(server, data), submit)


async def _submit(session: Session, found: list[Document], wait: float | None, output: str | None) -> None:
    payload = manifests.payload(found)
    limit = session.bus.max_payload - ENVELOPE
    if len(payload) > limit:
        raise TooLarge(
            f"the {len(found)} objects make a message of {len(payload):,} bytes, over the server's limit of {limit:,}: "
            "apply fewer files at a time, or raise max_payload in the server's configuration"
        )
    answer = await session.submit(subjects.APPLY, payload, found)
    report(answer, output)
    listed = {text(one.manifest, "metadata", "name") for one in found if isinstance(one, FleetMember)}
    if listed and (left := strangers(await reading.clusters(session.bus), listed)):
        warn(left)
    if wait is not None:
        await waiting.until_running(session, answer.accepted, timeout=wait, say=warn)


def report(answer: Answer, output: str | None) -> None:
    """What became of each object; warnings on standard error."""
    if output in ("json", "yaml"):
        echo_as(output, json.loads(answer.encode()))
    for entry in answer.accepted:
        if output == "name":
            click.echo(f"{entry.ref.kind.lower()}/{entry.ref.name}")
        elif output is None:
            click.echo(f"{entry.ref.kind.lower()}/{entry.ref.name} {entry.change}")
        for warning in entry.warnings:
            warn(f"warning: {entry.ref}: {warning}")
