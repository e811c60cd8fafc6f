"""`brim rebalance`: divide a workload afresh."""

from __future__ import annotations

import click

from cli import reading
from cli.naming import find_desired, namespace_option, split
from cli.session import Session, connected
from shared.contracts import subjects
from shared.contracts.rebalance import Rebalance
from shared.errors import NotFound


@click.command()
@click.argument("words", metavar="WORKLOAD", nargs=-1, required=True)
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
        placement = (await reading.workload(session.bus, ref)).placement
        if placement is None:
            raise NotFound(f"{ref} has no placement yet: there is nothing to rebalance")
        request = Rebalance(ref=ref, uid=placement.uid, order=placement.order, cause="manual", asked_at=session.now)
        await session.bus.publish(subjects.rebalance(ref), request.encode(), event=Rebalance.TYPE)
        click.echo(f"{ref.kind.lower()}/{ref.name} rebalance requested")
