"""`brim kubeconfig`: the file with which kubectl reaches the members."""

from __future__ import annotations

from pathlib import Path

import click

from cli.session import target_of, target_options
from shared.errors import NotFound


@click.command()
@target_options
def kubeconfig(server: str | None, data: Path | None) -> None:
    """Print the path of the kubeconfig; every member is a context in it, named by its id.

    \b
    Example:
      KUBECONFIG=$(brim kubeconfig) kubectl --context idc get pods -A
    """
    target = target_of(server, data)
    if target.kubeconfig is None:
        raise NotFound("this brim keeps no kubeconfig of its own: its members are real, use theirs")
    click.echo(target.kubeconfig)
