"""Settings: environment variables `BRIM_…`, and a YAML file named by `BRIM_CONFIG`. The environment wins.

A nested setting is written with two underscores: `BRIM_BUS__URL`, `BRIM_SCHEDULER__REST_BASE`. Every setting
states its unit, its default and the reason for it; `python -m shared.settings` prints them as a table.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import unquote

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from shared.clock import Clock
from shared.errors import Misconfigured

PREFIX = "BRIM_"
CONFIG_VARIABLE = "BRIM_CONFIG"

Port = Annotated[int, Field(ge=0, le=65535)]


def why(unit: str, reason: str) -> FieldInfo:
    """A setting's documentation. unit: "seconds", "messages", "address", …; reason: why it is so."""
    info = Field(description=reason, json_schema_extra={"unit": unit})
    assert isinstance(info, FieldInfo)
    return info


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BusSettings(Section):
    """NATS."""

    url: Annotated[
        str,
        why("address", "Servers, comma-separated. Empty: the NATS_URL variable, else nats://127.0.0.1:4222."),
    ] = ""
    user: Annotated[str, why("text", "User name, where the server asks for one.")] = ""
    password: Annotated[SecretStr, why("text", "Password of that user.")] = SecretStr("")
    inbox_prefix: Annotated[
        str,
        why(
            "subject", "Where replies arrive. Empty: `_INBOX_<user>`, so that users hear their own only, else `_INBOX`."
        ),
    ] = ""
    token: Annotated[SecretStr, why("text", "Token, where the server asks for one instead.")] = SecretStr("")
    credentials: Annotated[Path | None, why("file", "A .creds file (JWT and seed), where accounts are in use.")] = None
    replicas: Annotated[
        Literal[1, 3, 5],
        why("servers", "Copies of every stream. One fits a laptop; run 3 where a server may be lost."),
    ] = 1
    duplicate_window: Annotated[
        PositiveFloat,
        why("seconds", "How long a message id is remembered; longer costs the server memory per message."),
    ] = 120.0
    connect_timeout: Annotated[
        PositiveFloat, why("seconds", "For one attempt to connect; a server in reach answers in milliseconds.")
    ] = 2.0
    reconnect_max: Annotated[
        PositiveFloat,
        why("seconds", "Longest wait between two attempts: a server that returns is noticed soon."),
    ] = 2.0

    @property
    def urls(self) -> list[str]:
        """The servers' addresses; `NATS_URL` counts where no setting names one."""
        text = self.url or os.environ.get("NATS_URL", "") or "nats://127.0.0.1:4222"
        return [part.strip() for part in text.split(",") if part.strip()]

    @property
    def shown(self) -> str:
        """The servers' addresses for people and logs: without the user, password or token in them."""
        return ", ".join(_without_userinfo(url) for url in self.urls)

    @property
    def user_name(self) -> str:
        """Who connects, be it that an address says so; empty where nobody does, or a token or a file stands for him."""
        return self.user or next((name for url in self.urls if (name := _user_in(url))), "")

    @property
    def inbox(self) -> str:
        """The subjects below it are where replies arrive."""
        return self.inbox_prefix or (f"_INBOX_{self.user_name}" if self.user_name else "_INBOX")


def _without_userinfo(url: str) -> str:
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _user_in(url: str) -> str:
    """The user of nats://user:password@host; a name without a password is a token."""
    name, separator, _ = url.rpartition("://")[2].rpartition("@")[0].partition(":")
    return unquote(name) if separator else ""


class ClockSettings(Section):
    """Fleet time."""

    speed: Annotated[PositiveFloat, why("fleet seconds per second", "1 in production; demos and tests run faster.")] = (
        1.0
    )
    epoch: Annotated[
        float | None,
        why("Unix seconds", "When fleet time and real time agree; all processes of a fast fleet must share it."),
    ] = None

    def clock(self) -> Clock:
        """The fleet's clock; without an epoch, fleet time and real time agree now."""
        return Clock(speed=self.speed, epoch=time.time() if self.epoch is None else self.epoch)


class HealthSettings(Section):
    """/healthz, /readyz and /metrics, one address per process."""

    host: Annotated[str, why("address", "Only this machine unless told otherwise; 0.0.0.0 in a container.")] = (
        "127.0.0.1"
    )
    port: Annotated[
        Port | None,
        why("port", "The same for whatever service runs; 0 picks a free one. Unset: the service's own below."),
    ] = None
    inventory_port: Annotated[Port, why("port", "Inventory's; apart, so that four services fit one machine.")] = 9471
    scheduler_port: Annotated[Port, why("port", "The scheduler's.")] = 9472
    executor_port: Annotated[Port, why("port", "The executor's.")] = 9473
    descheduler_port: Annotated[Port, why("port", "The descheduler's.")] = 9474

    def port_of(self, service: str) -> int:
        """The port for a service by name; 0 (a free one) for anything that has no setting of its own."""
        ports = {
            "inventory": self.inventory_port,
            "scheduler": self.scheduler_port,
            "executor": self.executor_port,
            "descheduler": self.descheduler_port,
        }
        return self.port if self.port is not None else ports.get(service, 0)


class LogSettings(Section):
    """Logs go to standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], why("level", "info tells decisions and faults, not traffic.")
    ] = "info"
    format: Annotated[Literal["json", "text", "auto"], why("form", "auto: text on a terminal, JSON anywhere else.")] = (
        "auto"
    )


class TelemetrySettings(Section):
    """Traces."""

    otlp_endpoint: Annotated[
        str,
        why("address", "OTLP over HTTP, http://collector:4318. Empty: nothing is sent, contexts still travel."),
    ] = ""
    sample_ratio: Annotated[
        float,
        Field(ge=0.0, le=1.0),
        why("share", "Share of new traces that are kept; a trace that others began is kept as they say."),
    ] = 1.0
    farewell: Annotated[
        PositiveFloat,
        why("seconds", "A command that is done waits so long for the collector to take its spans."),
    ] = 2.0
    jaeger: Annotated[
        str, why("address", "Jaeger's query service, http://jaeger:16686: `brim trace` reads traces there.")
    ] = ""


class InventorySettings(Section):
    """Members → capacity, pods and status."""

    coalesce: Annotated[
        PositiveFloat, why("seconds", "A delta per member at most so often: churn is absorbed, room stays fresh.")
    ] = 0.05
    heartbeat: Annotated[
        PositiveFloat, why("fleet seconds", "An idle member is heard of so often; a silence is noticed by it.")
    ] = 10.0
    snapshot_deltas: Annotated[
        PositiveInt, why("deltas", "After so many a new snapshot: bounds what a starting scheduler reads.")
    ] = 10_000
    snapshot_interval: Annotated[
        PositiveFloat, why("fleet seconds", "And at least so often, as anti-entropy against any missed change.")
    ] = 300.0
    lost_after: Annotated[
        PositiveFloat,
        why("fleet seconds", "Unreachable for so long, a member is lost: a restarting API server is not."),
    ] = 300.0
    silent_after: Annotated[
        PositiveFloat,
        why("fleet seconds", "Unreachable for so long, a member gets no new replicas: they would wait for its return."),
    ] = 30.0
    request_timeout: Annotated[
        PositiveFloat, why("seconds", "For one list of a member; a list of 5,000 nodes takes a few.")
    ] = 30.0


class SchedulerSettings(Section):
    """Capacity + policies + rebalance requests → placements."""

    rest_base: Annotated[
        PositiveFloat, why("fleet seconds", "How long a workload avoids a member after getting stuck there.")
    ] = 60.0
    rest_max: Annotated[
        PositiveFloat, why("fleet seconds", "The rest doubles each time, to this: a mended member is tried again.")
    ] = 1800.0
    elastic_deadline: Annotated[
        PositiveFloat,
        why("fleet seconds", "Replicas on nodes still to be added are not stuck before: clouds need minutes."),
    ] = 300.0
    shape_cache: Annotated[
        PositiveInt, why("shapes", "Shapes whose room is kept up to date; memory grows with shapes × nodes.")
    ] = 256
    failback: Annotated[
        bool, why("yes or no", "Whether policies may ask for moves back to earlier tiers; off: nothing moves.")
    ] = True
    unknown_for: Annotated[
        PositiveFloat,
        why("fleet seconds", "A tier with a member whose room is not known yet is waited for: later ones cost more."),
    ] = 60.0
    lease_ttl: Annotated[
        PositiveInt, why("seconds", "After a crash a successor leads so much later; shorter suffers from pauses.")
    ] = 5


class ExecutorSettings(Section):
    """Placements → members."""

    concurrency: Annotated[
        PositiveInt, why("requests per member", "In flight at once; an API server's fair share of a client.")
    ] = 16
    request_timeout: Annotated[
        PositiveFloat, why("seconds", "For one write; admission webhooks may take up to 10 s by default.")
    ] = 15.0
    backoff_base: Annotated[PositiveFloat, why("seconds", "First wait after a failure of a member.")] = 0.2
    backoff_max: Annotated[PositiveFloat, why("seconds", "Longest wait: a member that returns is served soon.")] = 30.0
    breaker_threshold: Annotated[
        PositiveInt, why("failures in a row", "Then the member is only probed: its queue must not hold up others.")
    ] = 5
    breaker_pause: Annotated[PositiveFloat, why("seconds", "Between two probes of a member so cut off.")] = 5.0
    resync: Annotated[
        PositiveFloat, why("seconds", "Each object is looked at so often, to mend what others changed in a member.")
    ] = 300.0


class DeschedulerSettings(Section):
    """Stuck replicas → rebalance requests."""

    interval: Annotated[PositiveFloat, why("fleet seconds", "Of the sweep that finds what events missed.")] = 120.0
    threshold: Annotated[
        PositiveFloat, why("fleet seconds", "Unschedulable for longer is stuck: a member's scheduler is faster.")
    ] = 30.0


class Settings(BaseSettings):
    """All settings of one process. Load them with `load()`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    data: Annotated[Path, why("folder", "Where `brim up` keeps the streams and what must survive a restart.")] = Path(
        ".brim"
    )
    fleet: Annotated[Path | None, why("file", "The fleet file: which members there are.")] = None
    kubeconfig: Annotated[
        Path | None, why("file", "For members named by context. Unset: KUBECONFIG, else ~/.kube/config.")
    ] = None
    workload_kinds: Annotated[
        Path | None, why("file", "More kinds with replicas, in the form of shared/workload_kinds.yaml.")
    ] = None
    grace: Annotated[
        PositiveFloat, why("seconds", "To finish after SIGTERM; half of the 30 s that Kubernetes gives a pod.")
    ] = 15.0
    bus: BusSettings = BusSettings()
    clock: ClockSettings = ClockSettings()
    health: HealthSettings = HealthSettings()
    log: LogSettings = LogSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    inventory: InventorySettings = InventorySettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    executor: ExecutorSettings = ExecutorSettings()
    descheduler: DeschedulerSettings = DeschedulerSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = os.environ.get(CONFIG_VARIABLE)
        file = (YamlConfigSettingsSource(settings_cls, yaml_file=path),) if path else ()
        return (init_settings, env_settings, *file)


def load() -> Settings:
    """Settings from the environment and the file that BRIM_CONFIG names.

    Raises Misconfigured, in one sentence that names the variable or the file's key.
    """
    path = os.environ.get(CONFIG_VARIABLE)
    if path and not Path(path).is_file():
        raise Misconfigured(f"{CONFIG_VARIABLE} names {path}, which is no file: correct it or unset it")
    _refuse_unknown_variables()
    try:
        return Settings()
    except ValidationError as error:
        raise Misconfigured("; ".join(_sentence(fault["loc"], fault["msg"]) for fault in error.errors())) from None
    except yaml.YAMLError as error:
        raise Misconfigured(f"the settings file {path} is no YAML: {' '.join(str(error).split())}") from None
    except (ValueError, TypeError) as error:
        raise Misconfigured(f"the settings cannot be read: {' '.join(str(error).split())}") from None


def _sentence(location: tuple[int | str, ...], message: str) -> str:
    """pydantic's finding, with the variable and, where a file is in use, its key."""
    names = [str(part) for part in location]
    variable = PREFIX + "__".join(names).upper()
    return f"setting {variable} ({'.'.join(names)} in the settings file): {message[:1].lower()}{message[1:]}"


def _refuse_unknown_variables() -> None:
    """A variable that is misspelt would be ignored in silence, and the default used instead."""
    known = {row.variable for row in rows()} | {CONFIG_VARIABLE}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name.upper() not in known)
    if unknown:
        raise Misconfigured(f"setting {unknown[0]} is unknown: see `python -m shared.settings` for all, or unset it")


@dataclass(frozen=True, slots=True)
class Row:
    """One setting, documented."""

    variable: str
    unit: str
    default: str
    reason: str


def rows() -> Iterator[Row]:
    """Every setting, in the order of the classes above."""
    yield from _rows(Settings, PREFIX)


def _rows(model: type[BaseModel], prefix: str) -> Iterator[Row]:
    for name, info in model.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, Section):
            yield from _rows(section, f"{prefix}{name.upper()}__")
            continue
        extra = info.json_schema_extra
        unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
        choices = [str(choice) for choice in get_args(info.annotation) if isinstance(choice, str | int)]
        default = "unset" if info.default is None or not str(info.default) else str(info.default)
        one_of = f"{unit}: {', '.join(choices)}" if choices else unit
        yield Row(f"{prefix}{name.upper()}", one_of, default, info.description or "")


def markdown() -> str:
    """The settings as a Markdown table."""
    lines = ["| variable | unit | default | what and why |", "|---|---|---|---|"]
    lines += [f"| `{row.variable}` | {row.unit} | `{row.default}` | {row.reason} |" for row in rows()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
