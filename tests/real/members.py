"""Who runs the control planes of these tests: programs on this machine, or K3s in containers.

BRIM_TEST_MEMBERS chooses: `programs` or `k3s`. Without it programs come first, and K3s where they are not there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from tests.docker import engine as engines
from tests.docker import images
from tests.docker.engine import Engine
from tests.real import binaries, k3s
from tests.real.control_plane import ControlPlane
from tests.real.golang import Missing
from tests.real.local import LocalControlPlane

CHOICE = "BRIM_TEST_MEMBERS"
Make = Callable[[str, Path], ControlPlane]  # of a name and a folder of its own; it is still to be started


@contextmanager
def provided() -> Iterator[Make]:
    """Raises Missing, with what is missing."""
    choice = os.environ.get(CHOICE, "")
    if choice not in ("", *PROVIDERS):
        raise ValueError(f"{CHOICE} is {choice!r}: it may be {' or '.join(PROVIDERS)}")
    lacking = []
    with ExitStack() as stack:
        for name in [choice] if choice else PROVIDERS:
            try:
                make = stack.enter_context(PROVIDERS[name]())
            except Missing as missing:
                lacking.append(f"{name}: {missing}")
            else:
                yield make
                return
    raise Missing("; ".join(lacking))


@contextmanager
def _of_programs() -> Iterator[Make]:
    yield partial(LocalControlPlane, binaries.find())


@contextmanager
def _of_k3s() -> Iterator[Make]:
    binaries.find("kwok")  # before an engine is started for nothing
    with engines.folder() as folder, engines.engine(folder) as engine, in_containers(engine, folder / "images") as make:
        yield make


@contextmanager
def in_containers(engine: Engine, folder: Path) -> Iterator[Make]:
    """Members of K3s. folder: for making an image, an empty one. Raises Missing."""
    kwok = binaries.find("kwok")["kwok"]
    with k3s.reaching(engine):
        yield partial(k3s.K3sControlPlane, images.k3s(engine, folder), kwok)


PROVIDERS = {"programs": _of_programs, "k3s": _of_k3s}
