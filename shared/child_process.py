"""Becomes the command it is given, having asked Linux to end it when the parent dies.

A process of its own does that: a preexec function could deadlock a parent that has threads. It imports little, so
that it costs little.   python shared/child_process.py PARENT_PID COMMAND [ARGUMENT …]
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def dying_with_us(command: list[str]) -> list[str]:
    """The command, to end with this process. Elsewhere than on Linux a child outlives a parent that is killed:
    stopping it is all there is."""
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), str(os.getpid()), *command]


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):  # the parent died before the request above
        sys.exit(1)
    os.execv(sys.argv[2], sys.argv[2:])
