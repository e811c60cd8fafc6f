"""`brim scale`: how many replicas a workload should have in the whole fleet."""

from __future__ import annotations

import click

from cli import waiting
from cli.commands.apply import report
from cli.completion import complete_workloads
from cli.naming import find_desired, split
from cli.options import namespace_option, timeout_option
from cli.session import Session, connected, output_option, warn
from shared.contracts import subjects
from shared.contracts.submit import Accepted, Scale


@click.command()
@click.argument("words", metavar="WORKLOAD", nargs=-1, required=True, shell_complete=complete_workloads)
@click.option(
    "--replicas", metavar="COUNT", type=click.IntRange(0, 1_000_000), required=True, help="In the whole fleet."
)
@namespace_option
@click.option("--wait", is_flag=True, help="Until exactly so many are Ready.")
@timeout_option
@output_option("json", "yaml", "name", otherwise="a line for each workload")
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
    refs = [await find_desired(session.bus, kind, name, namespace) for kind, name in split(words)]
    accepted: list[Accepted] = []
    for ref in refs:
        answer = await session.submit(subjects.SCALE, Scale(ref=ref, replicas=replicas).encode())
        report(answer, output)
        accepted += answer.accepted
    if wait:
        await waiting.until_running(session, accepted, timeout=timeout, say=warn)
