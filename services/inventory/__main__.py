"""`python -m services.inventory`."""

from __future__ import annotations

import sys

from services.inventory.app import run
from shared import service

if __name__ == "__main__":
    sys.exit(service.run("inventory", run))
