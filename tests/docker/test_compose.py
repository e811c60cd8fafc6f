"""`docker compose up` is the whole set-up: the image is built, all is healthy, and a scenario plays."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.demo import hybrid
from cli.demo.observer import observing
from cli.demo.stage import Stage
from cli.running import Brim
from shared import fleet as fleet_file
from shared.bus import Bus
from shared.clock import Clock
from shared.settings import BusSettings, Settings
from simulator.members import Running
from tests.docker import stack as stacks
from tests.docker.engine import Engine
from tests.docker.stack import ROOT, WAIT, Stack, seen
from tests.real.golang import Missing

pytestmark = pytest.mark.docker

SPEED = 20.0  # added nodes are idle for ten minutes before they go
PATIENCE = 4.0  # containers on a busy machine
SERVICES = ("inventory", "scheduler", "executor", "descheduler")


@pytest.fixture(scope="module")
def stack(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    try:
        with stacks.stack(engine, tmp_path_factory.mktemp("images"), speed=SPEED) as running:
            yield running
    except Missing as missing:
        pytest.skip(str(missing))


def answer(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=WAIT) as response:
        return json.load(response)


def needs(stack: Stack, service: str) -> None:
    if service in stack.without:
        pytest.skip(stack.without[service])


async def test_the_hybrid_scenario_plays(stack: Stack, tmp_path: Path) -> None:
    seen(lambda: stack.has_joined({"idc", "ack"}), "both members have joined")
    fleet = fleet_file.load(ROOT / "deploy" / "compose" / "simulated.yaml")
    clock = Clock(speed=stack.speed, epoch=stack.epoch)
    settings = Settings(bus=BusSettings(url=stack.url))
    reached = stack.kubeconfig(tmp_path)
    async with Bus.connect(settings.bus, name="test") as bus, observing(fleet, reached) as observer:
        outside = Brim(settings, clock, fleet, Running({}), reached)
        await hybrid.play(Stage(outside, bus, observer, print, PATIENCE))


def test_people_see_from_outside_what_runs_inside(stack: Stack) -> None:
    assert "cluster-idc-demo" in stack.brim("get", "clusters")
    assert "idc" in stack.brim("explain", "deploy/qwen3", "-n", "test")


def test_jaeger_has_the_story(stack: Stack) -> None:
    needs(stack, "jaeger")

    def told() -> set[str]:
        return set(answer(f"{stack.published('jaeger')}/api/services")["data"])

    seen(lambda: set(SERVICES) - {"descheduler"} <= told(), "spans of the services that had a part in it")
    assert f"{stack.published('jaeger')}/trace/" in stack.brim("trace", "deploy/qwen3", "-n", "test")


def test_prometheus_hears_all_services(stack: Stack) -> None:
    needs(stack, "prometheus")
    query = urllib.parse.urlencode({"query": "up"})

    def up() -> set[str]:
        found = answer(f"{stack.published('prometheus')}/api/v1/query?{query}")["data"]["result"]
        return {one["metric"]["instance"].partition(":")[0] for one in found if one["value"][1] == "1"}

    seen(lambda: up() == set(SERVICES), "all four are up")
    rules = answer(f"{stack.published('prometheus')}/api/v1/rules")["data"]["groups"]
    assert rules
    assert all(rule["health"] != "err" for group in rules for rule in group["rules"])


def test_containers_are_confined(stack: Stack) -> None:
    containers = stack.containers()
    for service in containers:
        host = containers[service]["HostConfig"]
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert not host["Privileged"], service
    for service in (*SERVICES, "simulator"):
        assert containers[service]["Config"]["User"] == "10001:10001", service
    assert {one["Config"]["Image"] for name, one in containers.items() if name in SERVICES} == {
        stack.environment["IMAGE"]
    }


def test_nothing_crashed_on_the_way(stack: Stack) -> None:
    containers = stack.containers()
    for service in (*SERVICES, "simulator", "join", "nats"):
        assert containers[service]["State"]["Health"]["Status"] == "healthy", service
        assert containers[service]["RestartCount"] == 0, service


def test_all_is_there_after_everything_was_stopped_and_started(stack: Stack) -> None:
    before = stack.brim("get", "pods", "-n", "test", "-M", "-o", "name")
    stack.compose("stop")
    stack.up()
    seen(lambda: stack.brim("get", "pods", "-n", "test", "-M", "-o", "name") == before, "the same pods as before")


def test_the_same_sources_are_the_same_image(stack: Stack, tmp_path: Path) -> None:
    """On the same base, from a checkout whose files have other times and rights, without any cache."""
    first = stack.environment["IMAGE"]
    again = f"{first}-again"
    copy_of_sources(tmp_path)
    try:
        stack.engine.docker("build", "--no-cache", "--quiet", "--tag", again, *stack.base(), str(tmp_path))
        assert stack.engine.layers(again) == stack.engine.layers(first)
    finally:
        stack.engine.forget(again)


def copy_of_sources(folder: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
            (folder / name).chmod(0o600)
