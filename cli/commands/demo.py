"""`brim demo`: see it work."""

from __future__ import annotations

import sys

import anyio
import click

from cli.demo import play
from cli.session import log_level_option, setup_logs
from shared.settings import load


@click.command()
@click.argument("scenario", type=click.Choice(list(play.SCENARIOS)), default="default")
@click.option(
    "--speed", type=click.FloatRange(1, 60), default=play.SPEED, show_default=True, help="Fleet seconds per second."
)
@log_level_option("error")
@click.pass_context
def demo(context: click.Context, scenario: str, speed: float, log_level: str) -> None:
    """Play a scenario on this machine, step by step; the status is 0 only if every step was seen.

    default: hybrid, then descheduling. burst: serverless instances inside a member. rollout: a new version in two
    members, approved step by step. waves: a new version over three members, one after the other. Needs nothing but
    brim itself, and leaves nothing behind.

    \b
    Examples:
      brim demo
      brim demo multi-region --speed 20
    """
    settings = load()
    setup_logs(settings.log, log_level)
    complete = anyio.run(
        lambda: play.play(settings, scenario, speed, click.echo),
        backend_options={"use_uvloop": sys.platform != "win32"},
    )
    context.exit(0 if complete else 1)
