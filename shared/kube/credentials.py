"""kubeconfig contexts and service accounts: addresses, certificates, tokens, and tokens that expire.

kubernetes-asyncio runs an exec plugin once and keeps its token; here it is run again before the credential expires.
Files that hold a token or a certificate are read every minute, as is a kubeconfig that changed: a service account's
token is replaced under the same name long before it ends, and a member may move. And whatever the context names
(plugin, files, OIDC) is read again when the member answers 401, or when one side does not take the other's certificate.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import yaml
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import ConfigException
from kubernetes_asyncio.config.kube_config import ConfigNode, KubeConfigLoader, KubeConfigMerger

from shared.errors import MemberUnavailable, Misconfigured
from shared.fleet import Kubeconfig
from shared.kube import exec_plugin
from shared.kube.exec_plugin import PluginFailed, PluginMisconfigured

log = logging.getLogger("brim.kube")

MARGIN = 300.0  # seconds before its expiry at which a credential is replaced; half its life where that is shorter
AGAIN = 10.0  # seconds between two attempts after a 401 or a failure
REREAD = 60.0  # seconds after which files that hold a credential are read again, as Kubernetes' own clients do
READING = 30.0  # seconds for the rest: an OIDC token is fetched over the network

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # where a kubelet puts it
FILES = ("tokenFile", "client-certificate", "client-key")  # what a user may name as files

Fingerprint: TypeAlias = tuple[object, ...]

_VALUES = re.compile(r"\{.*\}")


def kubeconfig_path(path: Path | None) -> str:
    """The file or files to read: the one given, else KUBECONFIG, else ~/.kube/config."""
    return str(path) if path is not None else os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")


def _any_file(paths: str) -> bool:
    return any(Path(part).expanduser().is_file() for part in paths.split(os.pathsep) if part)


@dataclass(frozen=True, slots=True)
class Source:
    """Where credentials are read. told: for people. entries: the kubeconfig, read anew; raises Misconfigured where
    there is none, and ConfigException. state: of the files that it is read from, another one when they change."""

    told: str
    context: str
    entries: Callable[[], ConfigNode]
    state: Callable[[], object] = lambda: None


def source_of(by: Kubeconfig, default: Path | None) -> Source:
    """What a member's manifest says. default: the file of a context that names none."""
    if by.in_cluster:
        return service_account()
    return context_of(by.context, Path(by.path).expanduser() if by.path else default)


def context_of(context: str, path: Path | None) -> Source:
    """A context of a kubeconfig; of `kubeconfig_path(None)` where no file is named."""
    where = kubeconfig_path(path)

    def entries() -> ConfigNode:
        if not _any_file(where):
            raise Misconfigured(f"there is no kubeconfig {where}")
        found = KubeConfigMerger(where).config
        assert found is not None  # a file is there, and one that is no kubeconfig raises
        return found

    return Source(f"context {context!r} of {where}", context, entries, lambda: _state(where))


def _state(paths: str) -> list[tuple[int, int, int]]:
    found = []
    for part in filter(None, paths.split(os.pathsep)):
        try:
            stat = Path(part).expanduser().stat()
        except OSError:
            continue
        found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return found


def service_account() -> Source:
    """The service account of the pod that this process runs in, in the form of a kubeconfig."""

    def entries() -> ConfigNode:
        host, port = (os.environ.get(f"KUBERNETES_SERVICE_{part}") for part in ("HOST", "PORT"))
        if not host or not port:
            raise Misconfigured("this process runs in no cluster: name a kubeconfig's context in place of inCluster")
        server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        cluster = {"server": server, "certificate-authority": str(SERVICE_ACCOUNT / "ca.crt")}
        user = {"tokenFile": str(SERVICE_ACCOUNT / "token")}
        return ConfigNode(
            "service account",
            {
                "clusters": [{"name": "own", "cluster": cluster}],
                "users": [{"name": "own", "user": user}],
                "contexts": [{"name": "own", "context": {"cluster": "own", "user": "own"}}],
            },
        )

    return Source("the service account of this pod", "own", entries)


class _Loader(KubeConfigLoader):
    """The library's reading of a context, with our own running of plugins and reading of token files.

    own: the folder for a certificate that a plugin gives. expires_at: of its credential, Unix seconds.
    """

    _cluster: ConfigNode  # type: ignore[assignment]  # None only until a context is set
    _current_context: ConfigNode  # type: ignore[assignment]
    cert_file: str
    key_file: str
    own: Callable[[], Path]
    expires_at: float | None = None

    def set_active_context(self, context_name: str | None = None) -> None:
        super().set_active_context(context_name)  # type: ignore[no-untyped-call]
        if not isinstance(self._cluster.safe_get("server"), str):
            raise ConfigException("the context's cluster names no server")
        if self._user is None:
            named = self._current_context["context"].safe_get("user")
            if named:
                raise ConfigException(f"there is no user {named!r}, whom the context names")
            self._user = ConfigNode("user", {})  # nobody: a context of `kubectl proxy` is such

    @property
    def reads_files(self) -> bool:
        """Whether the credential stands in a file, whose content may change."""
        return self._user is not None and any(self._user.safe_get(name) for name in FILES)

    def _load_user_token(self) -> bool:
        """As Kubernetes' own clients: a file wins over a token beside it, its last newline is none of the token's,
        and an empty one is being written just now."""
        named = self._user.safe_get("tokenFile") if self._user is not None else None
        if not named or self._user is None:
            return bool(super()._load_user_token())
        file = Path(self._get_base_path(self._user.path)) / named
        token = file.read_text(encoding="utf-8").strip()
        if not token:
            raise OSError(f"token file {file} is empty")
        self.token = f"Bearer {token}"
        return True

    async def load_from_exec_plugin(self) -> bool:
        base = self._get_base_path(self._cluster.path)
        config = self._user["exec"] if self._user is not None else None
        credential = await exec_plugin.run(getattr(config, "value", config), self._cluster.value, base)
        if credential.token:
            self.token = f"Bearer {credential.token}"
        if credential.certificate:
            own = self.own()
            self.cert_file = _written(own / "certificate.pem", credential.certificate)
            self.key_file = _written(own / "key.pem", credential.key)
        self.expires_at = credential.expires_at
        return True


def _written(path: Path, content: str) -> str:
    """TLS contexts read certificates from files only."""
    path.write_text(content, encoding="utf-8")
    return str(path)


class Credentials:
    """What one source says, and the Configuration that is kept up to date with it. `close` it at the end.

    generation: counts what connections are made with (address, certificates); those of an older one are to be
    made anew.
    """

    def __init__(self, member: str, source: Source) -> None:
        self._member = member
        self._source = source
        self._renew_at = float("inf")
        self._expires_at = float("inf")
        self._tried_at = float("-inf")
        self._look_at = float("-inf")  # when the kubeconfig itself is looked at again
        self._state: object = None
        self._lock = asyncio.Lock()
        self._fingerprint: Fingerprint = ()
        self._folder: tempfile.TemporaryDirectory[str] | None = None  # made for what needs it: most do not
        self.generation = 0
        self.configuration = Configuration()

    @classmethod
    async def load(cls, member: str, source: Source) -> Credentials:
        """Read the source. Raises Misconfigured (file, context) or MemberUnavailable (the plugin failed)."""
        credentials = cls(member, source)
        try:
            await credentials._load()
        except BaseException:
            credentials.close()
            raise
        return credentials

    def close(self) -> None:
        """Nothing secret stays on the disk."""
        if self._folder is not None:
            self._folder.cleanup()

    def _own(self) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="brim-", ignore_cleanup_errors=True)
        return Path(self._folder.name)

    @property
    def where(self) -> str:
        return f"member {self._member}: {self._source.told}"

    async def header(self) -> str | None:
        """The Authorization header to send now. Raises MemberUnavailable where a new token cannot be had.

        One request renews the token; the others go on with the present one while it lasts.
        """
        now = time.time()
        if now >= self._look_at:
            self._look_at = now + REREAD
            if self._source.state() != self._state:
                self._renew_at = now
        if now >= self._renew_at and not (self._lock.locked() and now < self._expires_at):
            await self._renew()
        return self._header()

    def _header(self) -> str | None:
        value = self.configuration.api_key.get("BearerToken")
        return str(value) if value else None

    async def rejected(self, header: str | None, generation: int) -> bool:
        """The member answered 401 to this header on connections of this generation. Returns whether another try
        makes sense."""
        async with self._lock:
            if self._is_as_before(header, generation):
                if time.monotonic() - self._tried_at < AGAIN:
                    return False
                await self._load()
            return not self._is_as_before(header, generation)

    def _is_as_before(self, header: str | None, generation: int) -> bool:
        return self._header() == header and self.generation == generation

    async def doubted(self) -> None:
        """A certificate was not accepted: the kubeconfig may name another by now."""
        async with self._lock:
            if time.monotonic() - self._tried_at >= AGAIN:
                await self._load_or_say()

    async def _renew(self) -> None:
        async with self._lock:
            if time.time() >= self._renew_at and time.monotonic() - self._tried_at >= AGAIN:
                await self._load_or_say()

    async def _load_or_say(self) -> None:
        try:
            await self._load()
        except (MemberUnavailable, Misconfigured) as error:
            log.warning("%s; what was read before is used while it lasts", error)

    async def _load(self) -> None:
        self._tried_at = time.monotonic()
        self._look_at, state = time.time() + REREAD, self._source.state()
        configuration = Configuration()  # a fresh one: what the file says no longer must not linger
        try:
            merged = self._source.entries()
            loader = _Loader(config_dict=merged, config_base_path=None, active_context=self._source.context)
            loader.own = self._own
            async with asyncio.timeout(exec_plugin.TIMEOUT + READING):
                await loader.load_and_set(configuration)
            fingerprint = _fingerprint(configuration)
        except Misconfigured as error:
            raise Misconfigured(f"member {self._member}: {error}") from None
        except PluginFailed as error:
            raise MemberUnavailable(f"{self.where}: {error}", code="ExecPluginFailed") from None
        except (OSError, TimeoutError) as error:
            told = "its credentials were not there in time" if isinstance(error, TimeoutError) else _told(error)
            raise MemberUnavailable(f"{self.where}: {told}", code="CredentialsFailed") from None
        except (PluginMisconfigured, ConfigException, yaml.YAMLError) as error:
            raise Misconfigured(f"{self.where} cannot be used: {_told(error)}") from None
        except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise Misconfigured(f"{self.where} has not the form of a kubeconfig: {_told(error)}") from None
        self.configuration, self._state = configuration, state
        self._note_expiry(loader.expires_at, reads_files=loader.reads_files)
        if fingerprint != self._fingerprint:
            self._fingerprint = fingerprint
            self.generation += 1

    def _note_expiry(self, expires_at: float | None, *, reads_files: bool) -> None:
        self._expires_at = float("inf")
        self._renew_at = time.time() + REREAD if reads_files else float("inf")
        if expires_at is not None:
            left = expires_at - time.time()
            self._expires_at = expires_at
            self._renew_at = min(self._renew_at, time.time() + max(1.0, left - min(MARGIN, left / 2)))


def _told(error: Exception) -> str:
    """In one line, without the entries of a kubeconfig, which hold tokens and keys: the library quotes them."""
    return _VALUES.sub("{…}", " ".join(str(error).split())) or type(error).__name__


def _fingerprint(configuration: Configuration) -> Fingerprint:
    files = (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file)
    return (
        configuration.host,
        configuration.verify_ssl,
        configuration.tls_server_name,
        configuration.proxy,
        *(hashlib.sha256(Path(name).read_bytes()).hexdigest() if name else "" for name in files),
    )
