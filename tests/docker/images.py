"""The images that compose.yaml names: pulled, or, in an engine of our own that cannot pull, made of the same programs:
a package's nats-server, and what is built from Go modules."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from shared.nats_server import binary
from tests.docker import programs
from tests.docker.engine import Engine
from tests.docker.stand_in import image as stand_in
from tests.jaeger import running as jaeger
from tests.prometheus import running as prometheus
from tests.real.golang import Missing

ELF_HEADERS = 4096  # bytes, in which a program names its loader
K3S = "BRIM_TEST_K3S_IMAGE"
ENVIRONMENT = (Path(__file__).parents[2] / ".env").read_text(encoding="utf-8")
Maker = Callable[[Engine, str, Path], None]


def provide(engine: Engine, image: str, folder: Path) -> None:
    """Returns when the engine has it. folder: an empty one. Raises Missing where it can be neither pulled nor made."""
    if engine.obtains(image):
        return
    make = _MAKERS.get(image.rpartition(":")[0])
    if make is None or not engine.own:
        raise Missing(f"the engine has no {image} and cannot pull it")
    make(engine, image, folder)


def k3s(engine: Engine, folder: Path) -> str:
    """The image of K3s to test with: the one that BRIM_TEST_K3S_IMAGE names, else compose.yaml's, else, in an engine of
    our own that cannot pull that, one that stands in for it. folder: as for `provide`. Raises Missing."""
    if named := os.environ.get(K3S):
        provide(engine, named, folder)
        return named
    usual = next(line.partition("=")[2] for line in ENVIRONMENT.splitlines() if line.startswith("K3S_IMAGE="))
    if engine.obtains(usual):
        return usual
    if not engine.own:
        raise Missing(f"the engine has no {usual} and cannot pull it; {K3S} may name another image of K3s")
    return stand_in.make(engine, folder)


def _python(engine: Engine, image: str, folder: Path) -> None:
    engine.docker("import", str(programs.root_file_system()), image)


def _nats(engine: Engine, image: str, folder: Path) -> None:
    _built(engine, image, folder, {"nats-server": Path(binary()), "busybox": _busybox()}, _NATS)


def _jaeger(engine: Engine, image: str, folder: Path) -> None:
    _built(engine, image, folder, {"jaeger": jaeger.find()}, _JAEGER)


def _prometheus(engine: Engine, image: str, folder: Path) -> None:
    _built(engine, image, folder, {"prometheus": prometheus.find()}, _PROMETHEUS)


_MAKERS: dict[str, Maker] = {
    "python": _python,
    "nats": _nats,
    "jaegertracing/jaeger": _jaeger,
    "prom/prometheus": _prometheus,
}

_NATS = """
FROM scratch
COPY busybox /bin/wget
COPY nats-server /bin/nats-server
ENTRYPOINT ["/bin/nats-server"]
"""

_JAEGER = """
FROM scratch
COPY jaeger /jaeger
USER 10001
ENTRYPOINT ["/jaeger"]
"""

_PROMETHEUS = """
FROM scratch
COPY prometheus /bin/prometheus
COPY --chown=65534:65534 data /prometheus
USER 65534
WORKDIR /prometheus
ENTRYPOINT ["/bin/prometheus"]
"""


def _built(engine: Engine, image: str, folder: Path, files: dict[str, Path], dockerfile: str) -> None:
    for name, path in files.items():
        shutil.copy(path, folder / name)
    (folder / "data").mkdir()
    (folder / "Dockerfile").write_text(dockerfile, encoding="utf-8")
    engine.docker("build", "--quiet", "--tag", image, str(folder))


def _busybox() -> Path:
    """A static one. Raises Missing."""
    found = shutil.which("busybox")
    if found is None or b"/ld-linux" in Path(found).read_bytes()[:ELF_HEADERS]:
        raise Missing("no static busybox is on the PATH")
    return Path(found)
