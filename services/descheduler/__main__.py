import sys

from services.descheduler.app import run
from shared.service import run as run_service

if __name__ == "__main__":
    sys.exit(run_service("descheduler", run))
