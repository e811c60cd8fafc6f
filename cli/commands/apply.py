"""`brim apply`: manifests to the intake, all or nothing."""

from __future__ import annotations

import json

import click

from cli import manifests, waiting
from cli.session import Session, connected, echo_as, output_option, warn
from shared.contracts import subjects
from shared.contracts.submit import Answer
from shared.errors import TooLarge

ENVELOPE = 1024  # bytes that a message needs beside its payload


@click.command()
@click.option("-f", "--filename", "files", multiple=True, required=True, help="File, folder, or - for standard input.")
@click.option("-n", "--namespace", help="For objects that name none.")
@click.option("--wait", is_flag=True, help="Until all of it runs: placed, applied, and Ready.")
@click.option("--timeout", default=300.0, show_default=True, help="Seconds that --wait waits at most.")
@output_option("json", "yaml", "name")
@connected
async def apply(
    session: Session, files: tuple[str, ...], namespace: str | None, wait: bool, timeout: float, output: str | None
) -> None:
    """Say what should run, and by which policies.

    Everything is checked before anything is accepted: with one fault, nothing changes.

    \b
    Examples:
      brim apply -f qwen3.yaml -f policies/ --wait
      helm template chart | brim apply -f - -n test
    """
    found = manifests.read_all(files, namespace=namespace)
    payload = json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode()
    limit = session.bus.max_payload - ENVELOPE
    if len(payload) > limit:
        raise TooLarge(
            f"the {len(found)} objects make a message of {len(payload):,} bytes, over the server's limit of {limit:,}: "
            "apply fewer files at a time, or raise max_payload in the server's configuration"
        )
    answer = await session.submit(subjects.APPLY, payload)
    report(answer, output)
    if wait:
        await waiting.until_running(session, answer.accepted, timeout=timeout, say=warn)


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
