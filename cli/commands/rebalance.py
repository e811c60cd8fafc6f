"""`brim rebalance`: divide a workload afresh."""

from __future__ import annotations

import click

from cli import reading
from cli.completion import complete_workloads
from cli.naming import find_desired, split
from cli.options import namespace_option
from cli.session import Session, connected
from shared.contracts import subjects
from shared.contracts.rebalance import Rebalance
from shared.errors import NotFound, Refused


@click.command()
@click.argument("words", metavar="WORKLOAD", nargs=-1, required=True, shell_complete=complete_workloads)
@namespace_option
@connected
async def rebalance(session: Session, words: tuple[str, ...], namespace: str) -> None:
    """Divide a workload as if it were new, moving what has to move; replicas that serve are replaced first.

    \b
    Example:
      brim rebalance deploy/web-demo
    """
    for kind, name in split(words):
        ref = await find_desired(session.bus, kind, name, namespace)
        if not reading.has_replicas(ref):
            raise Refused(f"{ref} has no replicas to divide: it goes whole to every member that its policy names")
        placement = (await reading.workload(session.bus, ref)).placement
        if placement is None:
            raise NotFound(f"{ref} has no placement yet: there is nothing to rebalance")
        request = Rebalance(ref=ref, uid=placement.uid, order=placement.order, cause="manual", asked_at=session.now)
        await session.bus.publish(subjects.rebalance(ref), request.encode(), event=Rebalance.TYPE)
        click.echo(f"{ref.kind.lower()}/{ref.name} rebalance requested")
