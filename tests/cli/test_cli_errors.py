"""What a person sees when something is wrong: one sentence, a status that is not 0, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.commands import COMMANDS, command
from cli.demo.play import SCENARIOS
from cli.main import run
from cli.services import SERVICES, service


def call(*arguments: str) -> tuple[int, str, str]:
    runner = CliRunner()
    with runner.isolation() as (out, err, _):
        status = run(arguments)
    return status, out.getvalue().decode(), err.getvalue().decode()


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NATS_URL", raising=False)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["get", "pods"], 1, "Error: no brim runs in .brim: start one with `brim up`"),
        (["apply"], 2, "Missing option '-f'"),
        (["plan", "--previous", "x.json"], 2, "--previous goes with --fleet FILE"),
        (["plan", "--fleet", "none.yaml", "-f", "none.yaml"], 1, "Error: none.yaml: No such file or directory"),
        (["up", "--fleet", "none.yaml"], 1, "Error: fleet file none.yaml: No such file or directory"),
        (["up", "--speed", "0"], 2, "'--speed'"),
        (["schema", "nothing"], 1, "Error: there is no message 'nothing': `brim schema` lists all"),
        (["run", "nothing"], 2, "'nothing' is not one of"),
        (["demo", "nothing"], 2, "'nothing' is not one of"),
        (["scale", "deploy/x", "--replicas", "-1"], 2, "-1 is not in the range"),
        (["scale", "deploy/x", "--replicas", "1000001"], 2, "is not in the range"),
        (["nothing"], 2, "No such command 'nothing'"),
        (["kubeconfig"], 1, "Error: no brim runs in .brim"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_errors_are_one_sentence(arguments: list[str], status: int, words: str) -> None:
    got, out, err = call(*arguments)
    assert got == status
    assert out == ""
    assert words in err
    assert "Traceback" not in err


def test_a_setting_that_is_misspelt_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIM_BUS__ULR", "nats://x")
    status, _, err = call("get", "pods")
    assert status == 1
    assert err.startswith("Error: setting BRIM_BUS__ULR is unknown")


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_explains_itself_with_an_example(name: str) -> None:
    status, out, _ = call(name, "--help")
    assert status == 0
    assert "Example" in out


def test_help_lists_every_command() -> None:
    status, out, _ = call("--help")
    assert status == 0
    assert [line.split()[0] for line in out.split("Commands:\n")[1].split("\n\n")[0].splitlines()] == list(COMMANDS)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete(shell: str) -> None:
    status, out, _ = call("completion", shell)
    assert status == 0
    assert "_BRIM_COMPLETE" in out


def test_schemas_are_listed_and_shown() -> None:
    status, out, _ = call("schema")
    assert status == 0
    assert "dev.brim.placement.v1" in out.splitlines()
    status, out, _ = call("schema", "placement")
    assert status == 0
    assert '"$id": "urn:brim:dev.brim.placement.v1"' in out


def test_no_command_has_a_name_that_does_not_load() -> None:
    assert all(command(name) is not None for name in COMMANDS)
    assert command("nothing") is None


def test_every_service_can_be_run() -> None:
    assert [callable(service(name)) for name in SERVICES] == [True] * 4
    with pytest.raises(ValueError, match="there is no service 'x'"):
        service("x")


def test_every_scenario_names_a_packaged_fleet() -> None:
    from cli.up import example

    for scenario in SCENARIOS.values():
        assert "kind: Fleet" in example(scenario.fleet)
