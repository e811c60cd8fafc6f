"""`brim run`: one service, in a process of its own."""

from __future__ import annotations

import click

from cli.services import SERVICES, service
from shared import service as runner


@click.command()
@click.argument("name", metavar="SERVICE", type=click.Choice(SERVICES))
@click.pass_context
def run(context: click.Context, name: str) -> None:
    """Run one service until it is told to stop: inventory, scheduler, executor or descheduler.

    Settings come from the environment (BRIM_…) and the file that BRIM_CONFIG names.

    \b
    Example:
      BRIM_BUS__URL=nats://nats:4222 brim run scheduler
    """
    context.exit(runner.run(name, service(name)))
