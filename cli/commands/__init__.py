"""The commands by name, in the order in which `brim --help` lists them. Each is loaded when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Final, NamedTuple

import click


class Entry(NamedTuple):
    """module: the one here that holds the function of the command's name. summary: for the list of commands, which
    must not load them all."""

    module: str
    summary: str


COMMANDS: Final[Mapping[str, Entry]] = {
    "demo": Entry("demo", "See it work: a scenario on this machine, step by step"),
    "up": Entry("up", "Run brim here: NATS server, simulated members, all services"),
    "run": Entry("run", "Run one service"),
    "apply": Entry("apply", "Say what should run, and by which policies"),
    "delete": Entry("delete", "Take objects out of the fleet and its members"),
    "get": Entry("get", "List objects of the fleet and of its members"),
    "scale": Entry("scale", "Change how many replicas a workload has"),
    "rollout": Entry("rollout", "Watch, approve, pause and undo new versions"),
    "ceiling": Entry("ceiling", "Bound what a workload may cost per hour"),
    "describe": Entry("describe", "Show all that is known of one object"),
    "explain": Entry("explain", "Say why replicas are where they are, or pending"),
    "trace": Entry("trace", "Show how a wish became running pods, step by step"),
    "plan": Entry("plan", "Show what would be decided, changing nothing"),
    "cordon": Entry("members", "Give a member no new replicas"),
    "uncordon": Entry("members", "Let a member have replicas again"),
    "drain": Entry("members", "Move away what runs in a member"),
    "rebalance": Entry("rebalance", "Divide a workload afresh"),
    "events": Entry("events", "Show what happened in the fleet"),
    "rejected": Entry("events", "Show messages that were refused, and why"),
    "kubeconfig": Entry("kubeconfig", "Print the file with which kubectl reaches the members"),
    "schema": Entry("schema", "Print the JSON Schemas of messages and of the fleet file"),
    "completion": Entry("completion", "Print a shell's completion script"),
}


def command(name: str) -> click.Command | None:
    """The command of that name. Only its own module is imported, so that each starts as fast as it can."""
    entry = COMMANDS.get(name)
    if entry is None:
        return None
    found: click.Command = getattr(importlib.import_module(f"{__name__}.{entry.module}"), name)
    return found
