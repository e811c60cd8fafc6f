"""`brim scale`: how many replicas a workload should have in the whole fleet."""

from __future__ import annotations

import click

from cli import waiting
from cli.commands.apply import report
from cli.naming import find_desired, namespace_option, split
from cli.session import Session, connected, output_option, warn
from shared.contracts import subjects
from shared.contracts.submit import Scale


@click.command()
@click.argument("words", metavar="WORKLOAD", nargs=-1, required=True)
@click.option("--replicas", type=click.IntRange(0, 1_000_000), required=True, help="Replicas in the whole fleet.")
@namespace_option
@click.option("--wait", is_flag=True, help="Until so many are Ready.")
@click.option("--timeout", default=300.0, show_default=True, help="Seconds that --wait waits at most.")
@output_option("json", "yaml", "name")
@connected
async def scale(
    session: Session,
    words: tuple[str, ...],
    replicas: int,
    namespace: str,
    wait: bool,
    timeout: float,
    output: str | None,
) -> None:
    """Change how many replicas a workload has. Replicas that run stay where they are.

    \b
    Examples:
      brim scale deploy qwen3 -n test --replicas 4
      brim scale deploy/qwen3 -n test --replicas 2 --wait
    """
    for kind, name in split(words):
        ref = await find_desired(session.bus, kind, name, namespace)
        answer = await session.submit(subjects.SCALE, Scale(ref=ref, replicas=replicas).encode())
        report(answer, output)
        if wait:
            await waiting.until_running(session, answer.accepted, timeout=timeout, say=warn)
