import sys

from services.executor.app import run
from shared.service import run as run_service

if __name__ == "__main__":
    sys.exit(run_service("executor", run))
