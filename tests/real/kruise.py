"""Kruise Rollout's own controller in a real member, where whoever runs the tests has it: it is not built here.

KRUISE_ROLLOUTS is the controller's program, KRUISE_ROLLOUTS_CONFIG the folder `config` of the same version, with its
CustomResourceDefinitions (`crd/bases`) and its admission (`webhook`).

The controller's admission listens on every address, whatever it is told. It therefore only runs where there is no
network but the loopback: `make test-kruise` sees to that.
"""

from __future__ import annotations

import os
import urllib.error
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.real.control_plane import START, ControlPlane, answer, call, exists, kubeconfig
from tests.real.golang import Missing
from tests.real.program import HOST, Program, Started, free_port
from tests.real.waiting import until

PROGRAM, CONFIG = "KRUISE_ROLLOUTS", "KRUISE_ROLLOUTS_CONFIG"
ROUTES = Path("/proc/self/net/route")
NAME = "localhost"  # that the admission's certificate is for
PREFIX = "kruise-rollout-"  # of the names that the controller looks for its admission by
APIS = {
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "MutatingWebhookConfiguration": "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
    "ValidatingWebhookConfiguration": "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
}
ROLLOUTS = "/apis/rollouts.kruise.io/v1beta1"


@dataclass(frozen=True, slots=True)
class Kruise:
    """program: of the controller. config: the folder."""

    program: Path
    config: Path


def find() -> Kruise:
    """Raises Missing."""
    program, config = (Path(os.environ.get(name) or "/nowhere") for name in (PROGRAM, CONFIG))
    if not os.access(program, os.X_OK) or not (config / "crd" / "bases").is_dir():
        raise Missing(f"no Kruise Rollout: {PROGRAM} names its controller's program, {CONFIG} the folder of its config")
    if not _is_apart():
        raise Missing(
            "Kruise Rollout's admission listens on every address: `make test-kruise` keeps it on the loopback"
        )
    return Kruise(program, config)


def _is_apart() -> bool:
    """Whether there is no network but the loopback. Systems that do not tell their routes so do have one."""
    try:
        rows = ROUTES.read_text().splitlines()[1:]
    except OSError:
        return False
    return not rows


class Controller(Started):
    """Over a control plane that runs; it ends before that does."""

    def __init__(self, kruise: Kruise, plane: ControlPlane, folder: Path) -> None:
        self._kruise = kruise
        self._plane = plane
        self._folder = folder
        self._admission = free_port()
        self._health = free_port()
        self._kubeconfig = folder / "kubeconfig"
        self._program = Program("kruise-rollouts", self._command(), folder, self._environment())

    def start(self) -> None:
        """Returns once its kinds are served, and admitted by it. Raises RuntimeError with the end of its log."""
        self._folder.mkdir(parents=True, exist_ok=True)
        kubeconfig({self._plane.name: self._plane}, self._kubeconfig)
        for document in self._documents():
            _create(self._plane, document)
        self._program.start()
        until(self._ready, START, lambda: f"{self._program.name} is not ready: {self._program.said()}")

    def stop(self) -> None:
        """What it was installed with goes first: nobody would admit anything, or let a Rollout go, without it."""
        for document in reversed(self._documents()):
            path = f"{APIS[document['kind']]}/{document['metadata']['name']}"
            if exists(self._plane, path):
                call(self._plane, "DELETE", path)
        self._program.stop()

    def crash(self) -> None:
        """End it at once, and start it again."""
        self._program.stop(kill=True)
        self._program.start()
        until(self._ready, START, lambda: f"{self._program.name} is not ready: {self._program.said()}")

    def _ready(self) -> bool:
        self._program.check()
        if not answer(f"http://{HOST}:{self._health}/readyz", None):
            return False
        try:
            call(self._plane, "POST", f"{ROLLOUTS}/namespaces/default/rollouts?dryRun=All", _PROBE)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        return True

    def _command(self) -> list[str]:
        return [
            str(self._kruise.program),
            f"--kubeconfig={self._kubeconfig}",
            f"--metrics-bind-address={HOST}:{free_port()}",
            f"--health-probe-bind-address={HOST}:{self._health}",
            "--feature-gates=AdvancedDeployment=true",  # as its installation has it: Deployments in partitions need it
        ]

    def _environment(self) -> dict[str, str]:
        return {
            "WEBHOOK_HOST": NAME,
            "WEBHOOK_PORT": str(self._admission),
            "WEBHOOK_CERT_DIR": str(self._folder / "certificates"),
        }

    def _documents(self) -> list[dict[str, Any]]:
        """What an installation creates; the controller itself fills in where its admission is, and its certificate."""
        bases = sorted((self._kruise.config / "crd" / "bases").glob("*.yaml"))
        kinds = [one for path in bases for one in _read(path)]
        for kind in kinds:
            if len(kind["spec"]["versions"]) > 1:
                where = {"url": f"https://{NAME}:{self._admission}/convert"}
                webhook = {"clientConfig": where, "conversionReviewVersions": ["v1", "v1beta1"]}
                kind["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
        folder = self._kruise.config / "webhook"
        admissions = _read(folder / "manifests.yaml")
        selectors = {hook["name"]: hook for one in _read(folder / "patch_manifests.yaml") for hook in one["webhooks"]}
        for admission in admissions:
            admission["metadata"]["name"] = PREFIX + admission["metadata"]["name"]
            admission["webhooks"] = [{**hook, **selectors.get(hook["name"], {})} for hook in admission["webhooks"]]
        return kinds + admissions


_PROBE = {
    "apiVersion": "rollouts.kruise.io/v1beta1",
    "kind": "Rollout",
    "metadata": {"name": "probe"},
    "spec": {
        "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "probe"},
        "strategy": {"canary": {"steps": [{"replicas": "100%"}]}},
    },
}


def _read(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def _create(plane: ControlPlane, document: dict[str, Any]) -> None:
    call(plane, "POST", APIS[document["kind"]], document)
