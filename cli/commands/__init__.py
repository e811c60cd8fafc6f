"""The commands by name, in the order in which `brim --help` lists them. Each is loaded when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Final

import click

# command → its module here; the function in it has the command's name
COMMANDS: Final[Mapping[str, str]] = {
    "demo": "demo",
    "up": "up",
    "run": "run",
    "apply": "apply",
    "delete": "delete",
    "get": "get",
    "scale": "scale",
    "describe": "describe",
    "explain": "explain",
    "plan": "plan",
    "cordon": "members",
    "uncordon": "members",
    "drain": "members",
    "rebalance": "rebalance",
    "events": "events",
    "rejected": "events",
    "kubeconfig": "kubeconfig",
    "schema": "schema",
    "completion": "completion",
}


def command(name: str) -> click.Command | None:
    """The command of that name. Only its own module is imported, so that each starts as fast as it can."""
    module = COMMANDS.get(name)
    if module is None:
        return None
    found: click.Command = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return found
