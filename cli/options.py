"""What several commands take on the command line, and how it is read."""

from __future__ import annotations

import math
import re

import click

from cli.completion import complete_members, complete_namespaces
from cli.naming import DEFAULT_NAMESPACE

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


class Duration(click.ParamType[float]):
    """`90`, `90s`, `1.5m`, `1h30m`: seconds."""

    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        parts = _DURATION.findall(value)
        if not parts or "".join(number + unit for number, unit in parts) != value:
            self.fail(f"{value!r} is no duration such as 90s, 5m or 1h30m", param, ctx)
        return sum(float(number) * _UNITS[unit] for number, unit in parts)


class Speed(click.ParamType[float]):
    """A finite number above 0."""

    name = "number"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            speed = float(value)
        except ValueError:
            speed = math.nan
        if not math.isfinite(speed) or speed <= 0:
            self.fail(f"{value!r} is no number above 0", param, ctx)
        return speed


timeout_option = click.option(
    "--timeout", type=Duration(), default="5m", show_default=True, help="How long --wait waits at most."
)

namespace_option = click.option(
    "-n",
    "--namespace",
    default=DEFAULT_NAMESPACE,
    show_default=True,
    metavar="NAMESPACE",
    shell_complete=complete_namespaces,
    help="Of the object.",
)
member_option = click.option(
    "-m", "--member", metavar="MEMBER", shell_complete=complete_members, help="What one member holds: its id or alias."
)
