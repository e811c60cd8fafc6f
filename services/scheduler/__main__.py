"""`python -m services.scheduler`: the scheduler alone."""

from __future__ import annotations

import sys

from services.scheduler import app
from shared.service import run

if __name__ == "__main__":
    sys.exit(run("scheduler", app.run))
