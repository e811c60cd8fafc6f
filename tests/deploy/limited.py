"""A nats-server with deploy/nats/nats-server.conf itself; only where it listens and stores is the test's own."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.contracts.nats_conf import variable
from shared.contracts.rights import USERS
from shared.nats_server import NatsServer
from shared.settings import BusSettings

CONF = Path(__file__).parents[2] / "deploy" / "nats" / "nats-server.conf"


def password(user: str) -> str:
    return f"secret-of-{user}"


class LimitedServer(NatsServer):
    """The environment must hold the passwords when it starts. withheld: lines that its configuration lacks."""

    withheld: tuple[str, ...] = ()

    def _config(self) -> str:
        lines = CONF.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = (line for line in lines if line.strip() not in self.withheld)
        return "".join(kept) + super()._config() + "http_port: 0\n"  # what comes last counts

    def reload(self) -> None:
        """Let it read its configuration anew while it runs."""
        assert self._process is not None
        (self._folder / "nats-server.conf").write_text(self._config(), encoding="utf-8")
        self._process.send_signal(signal.SIGHUP)

    def settings(self, user: str) -> BusSettings:
        return BusSettings(url=self.url, user=user, password=SecretStr(password(user)))


@asynccontextmanager
async def limited(folder: Path, *, withheld: tuple[str, ...] = ()) -> AsyncIterator[LimitedServer]:
    with pytest.MonkeyPatch.context() as patch:
        for user in USERS:
            patch.setenv(variable(user), password(user))
        server = LimitedServer(folder)
        server.withheld = withheld
        async with server:
            yield server
