"""`brim cordon`, `uncordon`, `drain`: lasting wishes for a member."""

from __future__ import annotations

import click

from cli import reading
from cli.commands.apply import report
from cli.completion import complete_members
from cli.session import Session, connected
from shared.contracts import subjects
from shared.contracts.cluster import Wish
from shared.contracts.submit import Cordon

member_argument = click.argument("member", metavar="MEMBER", shell_complete=complete_members)


@click.command()
@member_argument
@connected
async def cordon(session: Session, member: str) -> None:
    """Give a member no new replicas; what runs there stays.

    \b
    Example:
      brim cordon idc
    """
    await _wish(session, member, "cordoned")


@click.command()
@member_argument
@connected
async def uncordon(session: Session, member: str) -> None:
    """Let a member have replicas again, after cordon or drain.

    \b
    Example:
      brim uncordon idc
    """
    await _wish(session, member, "open")


@click.command()
@member_argument
@connected
async def drain(session: Session, member: str) -> None:
    """Give a member no new replicas, and move away what runs there, never below what must serve.

    \b
    Example:
      brim drain idc
    """
    await _wish(session, member, "drained")


async def _wish(session: Session, member: str, wish: Wish) -> None:
    cluster = (await reading.member_ids(session.bus, member))[0]
    report(await session.submit(subjects.CORDON, Cordon(member=cluster.id, wish=wish).encode()), None)
