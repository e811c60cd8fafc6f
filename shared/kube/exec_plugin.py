"""Credential plugins: the `exec` part of a kubeconfig's user, as client.authentication.k8s.io describes it.

kubernetes-asyncio's own runner leaves a plugin that hangs running for ever, and a fresh one beside it at every attempt;
it logs what a plugin or a kubeconfig says, secrets included; and it does not know when a certificate ends.
"""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from shared.kube.projection import Projection

TIMEOUT = 60.0  # seconds that a plugin may take: some open a browser once
SAID = 300  # characters of its complaints that an error quotes
CLUSTER_KEYS = (
    "server",
    "tls-server-name",
    "insecure-skip-tls-verify",
    "certificate-authority-data",
    "proxy-url",
)


class PluginFailed(Exception):
    """It may work later: the plugin failed, hung, or said what is no credential."""


class PluginMisconfigured(Exception):
    """The kubeconfig does not say what to run."""


class _Variable(Projection):
    name: str
    value: str


class _Plugin(Projection):
    api_version: str
    command: str
    args: tuple[str, ...] | None = None
    env: tuple[_Variable, ...] | None = None
    provide_cluster_info: bool = False


class _Status(Projection):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: datetime | None = None


class _Answer(Projection):
    api_version: str
    status: _Status


@dataclass(frozen=True, slots=True)
class Credential:
    """certificate, key: PEM. expires_at: Unix seconds, None where the plugin does not say."""

    token: str
    certificate: str
    key: str
    expires_at: float | None


async def run(config: object, cluster: Mapping[str, object], folder: str) -> Credential:
    """Run the plugin and read its credential.

    config: the user's `exec`. cluster: the kubeconfig's cluster, for plugins that ask for it. folder: of the
    kubeconfig, where a command with a relative path is looked for. Raises PluginFailed, PluginMisconfigured; what
    is raised quotes the plugin's complaints, never its answer.
    """
    try:
        plugin = _Plugin.model_validate(config)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in ("exec", *first["loc"]))
        raise PluginMisconfigured(f"{where}: {first['msg'].lower()}") from None
    output = await _output(plugin, _environment(plugin, cluster), folder)
    return _credential(plugin, output)


def _environment(plugin: _Plugin, cluster: Mapping[str, object]) -> dict[str, str]:
    spec: dict[str, object] = {"interactive": False}
    if plugin.provide_cluster_info:
        spec["cluster"] = {key: cluster[key] for key in CLUSTER_KEYS if key in cluster}
    info = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    own = {variable.name: variable.value for variable in plugin.env or ()}
    return {**os.environ, **own, "KUBERNETES_EXEC_INFO": json.dumps(info)}


async def _output(plugin: _Plugin, environment: dict[str, str], folder: str) -> bytes:
    command = plugin.command
    if os.sep in command:
        command = str(Path(folder) / command)
    try:
        process = await asyncio.create_subprocess_exec(
            command, *(plugin.args or ()), env=environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
    except OSError as error:
        raise PluginFailed(f"exec: {plugin.command} cannot be run: {error.strerror or error}") from None
    try:
        async with asyncio.timeout(TIMEOUT):
            output, complaints = await process.communicate()
    except TimeoutError:
        raise PluginFailed(f"exec: {plugin.command} did not answer in {TIMEOUT:g} s") from None
    finally:
        await _end(process)
    if process.returncode:
        said = " ".join(complaints.decode("utf-8", errors="replace").split())[-SAID:]
        raise PluginFailed(f"exec: {plugin.command} ended with status {process.returncode}: {said or 'without a word'}")
    return output


async def _end(process: Process) -> None:
    """Whatever happens, no plugin outlives its use."""
    if process.returncode is None:
        process.kill()
        await process.wait()


def _credential(plugin: _Plugin, output: bytes) -> Credential:
    try:
        answer = _Answer.model_validate_json(output)
    except ValidationError:
        raise PluginFailed(f"exec: {plugin.command} did not answer with an ExecCredential") from None
    status = answer.status
    if answer.api_version != plugin.api_version:
        raise PluginFailed(
            f"exec: {plugin.command} speaks {answer.api_version}, and the kubeconfig asks for {plugin.api_version}"
        )
    if not status.token and not (status.client_certificate_data and status.client_key_data):
        raise PluginFailed(f"exec: {plugin.command} gave neither a token nor a certificate with its key")
    expires = status.expiration_timestamp
    return Credential(
        token=status.token,
        certificate=status.client_certificate_data,
        key=status.client_key_data,
        expires_at=expires.timestamp() if expires is not None else None,
    )
