"""compose.yaml: what it says holds together. tests/docker brings it up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from shared import fleet as fleet_file
from shared.contracts.cluster import cluster_of
from shared.contracts.nats_conf import variable
from shared.contracts.rights import USERS
from shared.fleet import Kubeconfig
from shared.settings import rows

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
FLEETS = ROOT / "deploy" / "compose"
BRIM = ("inventory", "scheduler", "executor", "descheduler")
OURS = [name for name in SERVICES if not name.startswith("k3s-")]  # K3s runs containers, and has to be privileged


def defaults() -> dict[str, str]:
    lines = (ROOT / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize("name", BRIM)
def test_a_service_runs_as_its_own_user_and_is_asked_whether_it_is_ready(name: str) -> None:
    service = SERVICES[name]
    assert service["command"] == ["run", name]
    assert service["environment"]["BRIM_BUS__USER"] == name
    assert service["environment"]["BRIM_BUS__PASSWORD"] == f"${{{variable(name)}:?}}"
    assert "/readyz" in " ".join(service["healthcheck"]["test"])
    assert service["environment"]["BRIM_HEALTH__HOST"] == "0.0.0.0", "Prometheus is in a container of its own"


@pytest.mark.parametrize("name", OURS)
def test_containers_have_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service
    if service["image"] == SERVICES["scheduler"]["image"]:
        assert service["user"] not in ("0", "root")


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_is_published_beyond_this_machine(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_files_that_containers_see_are_there(name: str) -> None:
    mounted = [volume.replace("${FLEET:-fleet}", "fleet").split(":")[0] for volume in SERVICES[name].get("volumes", [])]
    assert [path for path in mounted if path.startswith("./") and not (ROOT / path).exists()] == []
    assert {path for path in mounted if not path.startswith("./")} <= set(COMPOSE["volumes"])


def test_settings_are_settings_of_brim() -> None:
    named = {key for one in SERVICES.values() for key in one.get("environment", {}) if key.startswith("BRIM_")}
    assert named <= {row.variable for row in rows()}


def test_every_user_of_nats_has_a_password_to_try_it_with() -> None:
    wanted = {variable(user) for user in USERS}
    assert set(SERVICES["nats"]["environment"]) == wanted
    assert {name for name, value in defaults().items() if name.startswith("NATS_PASSWORD_") and value} == wanted


def test_a_profile_has_simulated_members_or_real_ones() -> None:
    assert defaults()["COMPOSE_PROFILES"] == "simulated"
    profiles = {name: one["profiles"] for name, one in SERVICES.items() if "profiles" in one}
    assert profiles == {
        "simulator": ["simulated"],
        "join": ["simulated"],
        "k3s-idc": ["k3s"],
        "k3s-ack": ["k3s"],
        "join-k3s": ["k3s"],
    }


def test_brim_is_told_of_simulated_members_what_it_would_be_told_without_containers() -> None:
    described = fleet_file.load(ROOT / "examples" / "hybrid.yaml").members
    told = fleet_file.load(FLEETS / "simulated.yaml").members
    assert [cluster_of(member) for member in told] == [
        cluster_of(member, Kubeconfig(context=member.id)) for member in described
    ]


def test_real_members_are_those_that_k3s_runs() -> None:
    for member in fleet_file.load(FLEETS / "k3s.yaml").members:
        assert member.kubeconfig is not None
        assert member.kubeconfig.path == f"/fleet/{member.id}.yaml"
        service = SERVICES[f"k3s-{member.id}"]
        assert service["environment"]["K3S_KUBECONFIG_OUTPUT"] == f"/fleet/k3s-{member.id}.yaml"
        assert f"--tls-san=k3s-{member.id}" in service["command"]
        assert service["image"] == "${K3S_IMAGE:?}"
        assert service["privileged"] is True, "its agent runs containers"
    assert defaults()["K3S_IMAGE"].startswith("rancher/k3s:v"), "a version, not what is newest"
