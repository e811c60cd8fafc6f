"""The services, by name. This is the one place where the command line touches them: to run them."""

from __future__ import annotations

import importlib
from typing import cast

from shared.service import Main

SERVICES = ("inventory", "scheduler", "executor", "descheduler")


def service(name: str) -> Main:
    """A service's main function. Imported only when asked for: most commands need none of them."""
    if name not in SERVICES:
        raise ValueError(f"there is no service {name!r}: they are {', '.join(SERVICES)}")
    return cast(Main, importlib.import_module(f"services.{name}.app").run)
