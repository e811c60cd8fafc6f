"""kubeconfig contexts: addresses, certificates, tokens, and tokens that expire.

kubernetes-asyncio runs an exec plugin once and keeps its token; here it is run again before the token expires,
and whatever the context names (plugin, token file, OIDC) is read again when the member answers 401.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path

import yaml
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import ConfigException, load_kube_config
from kubernetes_asyncio.config.kube_config import KubeConfigLoader

from shared.errors import MemberUnavailable, Misconfigured

log = logging.getLogger("brim.kube")

MARGIN = 300.0  # seconds before its expiry at which a token is replaced; half its life where that is shorter
AGAIN = 10.0  # seconds between two attempts after a 401 or a failure
PLUGIN_TIMEOUT = 60.0  # seconds that a plugin may take: some open a browser once


def kubeconfig_path(path: Path | None) -> str:
    """The file or files to read: the one given, else KUBECONFIG, else ~/.kube/config."""
    return str(path) if path is not None else os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")


def _any_file(paths: str) -> bool:
    return any(Path(part).expanduser().is_file() for part in paths.split(os.pathsep) if part)


class Credentials:
    """One context of a kubeconfig, and the Configuration that is kept up to date with it."""

    def __init__(self, member: str, context: str, path: str, configuration: Configuration) -> None:
        self._member = member
        self._context = context
        self._path = path
        self._loader: KubeConfigLoader | None = None
        self._renew_at = float("inf")
        self._tried_at = 0.0
        self._lock = asyncio.Lock()
        self.configuration = configuration

    @classmethod
    async def load(cls, member: str, context: str, path: Path | None) -> Credentials:
        """Read the context. Raises Misconfigured (file, context) or MemberUnavailable (the plugin failed)."""
        credentials = cls(member, context, kubeconfig_path(path), Configuration())
        if not _any_file(credentials._path):
            raise Misconfigured(f"member {member}: there is no kubeconfig {credentials._path}")
        await credentials._load()
        return credentials

    async def header(self) -> str | None:
        """The Authorization header to send now. Raises MemberUnavailable where a new token cannot be had."""
        if time.time() >= self._renew_at:
            await self._renew()
        value = self.configuration.api_key.get("BearerToken")
        return str(value) if value else None

    async def rejected(self, header: str | None) -> bool:
        """The member answered 401 to this header. Returns whether another try makes sense."""
        async with self._lock:
            current = self.configuration.api_key.get("BearerToken")
            if current != header:
                return True
            if time.monotonic() - self._tried_at < AGAIN:
                return False
            await self._load()
            return bool(self.configuration.api_key.get("BearerToken") != header)

    async def _renew(self) -> None:
        async with self._lock:
            if time.time() < self._renew_at or time.monotonic() - self._tried_at < AGAIN:
                return
            try:
                await self._load()
            except MemberUnavailable as error:
                log.warning("%s; the present token is used while it lasts", error)

    async def _load(self) -> None:
        self._tried_at = time.monotonic()
        where = f"member {self._member}: context {self._context!r} of {self._path}"
        try:
            async with asyncio.timeout(PLUGIN_TIMEOUT):
                self._loader = await load_kube_config(
                    config_file=self._path,
                    context=self._context,
                    client_configuration=self.configuration,
                    persist_config=False,
                )
        except (ConfigException, yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
            told = " ".join(str(error).split())
            if told.startswith("exec:"):
                raise MemberUnavailable(f"{where}: {told}", code="ExecPluginFailed") from error
            raise Misconfigured(f"{where} cannot be used: {told}") from error
        except (OSError, TimeoutError) as error:
            why = f"its credential plugin did not answer in {PLUGIN_TIMEOUT:g} s"
            told = why if isinstance(error, TimeoutError) else str(error)
            raise MemberUnavailable(f"{where}: {told}", code="ExecPluginFailed") from error
        expiry = getattr(self._loader, "exec_plugin_expiry", None)
        if expiry is not None:
            left = expiry.timestamp() - time.time()
            self._renew_at = time.time() + max(1.0, left - min(MARGIN, left / 2))
