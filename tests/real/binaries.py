"""The programs of a real control plane: found where the envtest convention puts them, or built once from their modules.

    python -m tests.real.binaries [--jobs N] [NAME …]    builds what is missing, which takes minutes; prints the folder

It ends with 1 where something is missing and cannot be built, and says what.

KUBEBUILDER_ASSETS names a folder that comes first. The rest is built into a cache, one folder per set of versions:
TEST_PROGRAMS_CACHE, else `brim` in the user's cache folder. The versions are those of `kubernetes/go.mod`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.real import golang
from tests.real.golang import Missing

MODULE = Path(__file__).with_name("kubernetes")
PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
}
BUILD = "make real-binaries"


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where each program is, by its name."""

    paths: Mapping[str, Path]

    def __getitem__(self, name: str) -> str:
        return str(self.paths[name])


def version() -> str:
    """Of Kubernetes, as the module has it ("1.36.3")."""
    return golang.version(MODULE, "k8s.io/kubernetes")


def cache() -> Path:
    """The folder for just these versions."""
    return golang.cache(MODULE, f"kubernetes-{version()}")


def find(*names: str) -> Binaries:
    """Those with these names, or all. Raises Missing."""
    names = names or tuple(PACKAGES)
    folders = [Path(folder) for folder in (os.environ.get("KUBEBUILDER_ASSETS"), cache()) if folder]
    found = {name: path for name in names if (path := _in(folders, name)) is not None}
    if missing := [name for name in names if name not in found]:
        where = " and ".join(map(str, folders))
        raise Missing(f"no {', '.join(missing)} in {where}: `{BUILD}` builds them where Go is, once, in some minutes")
    return Binaries(found)


def _in(folders: list[Path], name: str) -> Path | None:
    return next((path for folder in folders if os.access(path := folder / name, os.X_OK)), None)


def build(say: Callable[[str], None], *names: str, jobs: int = 1) -> Binaries:
    """Build what `find` does not find of these, or of all. jobs: compilers at once. Raises Missing where Go is not
    there, or fails."""
    folder = cache()
    folders = [Path(assets)] if (assets := os.environ.get("KUBEBUILDER_ASSETS")) else []
    for name in names or PACKAGES:
        if _in([*folders, folder], name) is None:
            say(f"building {name} from {PACKAGES[name]} …")
            golang.build(MODULE, PACKAGES[name], folder / name, stamps=_stamps(), jobs=jobs)
    return find(*names)


def _stamps() -> str:
    """What the programs say of themselves; without it the API server would call itself 0.0."""
    major, minor, _ = version().split(".")
    about = {"gitVersion": f"v{version()}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in about.items())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.real.binaries", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1, help="compilers at once")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these of {', '.join(PACKAGES)}")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(PACKAGES):
        parser.error(f"no program {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # nothing half-built stays, no compiler goes on
    try:
        found = build(lambda line: print(line, file=sys.stderr, flush=True), *asked.names, jobs=asked.jobs)
    except Missing as error:
        print(error, file=sys.stderr)
        return 1
    print(*sorted({str(path.parent) for path in found.paths.values()}), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
