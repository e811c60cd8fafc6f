"""What a person sees when something is wrong: one sentence, a status that is not 0, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from cli.__main__ import main
from cli.commands import COMMANDS, command
from cli.complaints import sentences
from cli.demo.play import SCENARIOS
from cli.main import cli, run
from cli.options import Duration
from cli.services import SERVICES, service
from shared.errors import Fault, Invalid, NotFound


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
        (["up", "--speed", "nan"], 2, "'nan' is no number above 0"),
        (["up", "--speed", "fast"], 2, "'fast' is no number above 0"),
        (["up", "--server", "http://x"], 1, "Error: --server 'http://x' is no address of a NATS server"),
        (["apply", "-f", "https://x/y.yaml"], 1, "Error: https://x/y.yaml is an address, not a file: fetch it first"),
        (["apply", "-f", "x", "--wait", "--timeout", "soon"], 2, "'soon' is no duration such as 90s, 5m or 1h30m"),
        (["delete", "deploy"], 2, "name the object too: deploy NAME, or deploy/NAME"),
        (["delete"], 2, "name what is to be deleted"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_errors_are_one_sentence(arguments: list[str], status: int, words: str) -> None:
    got, out, err = call(*arguments)
    assert got == status
    assert out == ""
    assert words in err
    assert "Traceback" not in err


def test_a_fleet_file_that_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("members: []", encoding="utf-8")
    assert call("up", "--fleet", "fleet.yaml")[0] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["fleet.yaml"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("90s", 90.0), ("1.5m", 90.0), ("1h30m", 5400.0), ("250ms", 0.25)]
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


def test_ctrl_c_while_brim_loads_is_as_quiet_as_later(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(MetaPathFinder):
        def find_spec(self, name: str, path: object, target: object = None) -> None:
            if name == "cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "cli.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130


def test_a_reader_that_has_had_enough_ends_it_without_a_word() -> None:
    """As in `brim schema placement | head -1`."""
    with subprocess.Popen(
        [sys.executable, "-m", "cli", "schema", "placement"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (OSError(28, "No space left on device"), ["the output cannot be written: No space left on device"]),
        (FileNotFoundError(2, "No such file", "x.yaml"), ["x.yaml: No such file"]),
        (ExceptionGroup("", [NotFound("a is\n not there")]), ["a is not there"]),
        (ExceptionGroup("", [NotFound("a"), KeyError("b")]), ["a", "unexpected KeyError: 'b'"]),
        (Invalid([Fault("Pod x", "spec", "is odd"), Fault("Pod y", "", "too")]), ["Pod x: spec: is odd", "Pod y: too"]),
    ],
    ids=["of the system", "of a file", "in a group", "several", "faults"],
)
def test_every_error_becomes_sentences(error: Exception, lines: list[str]) -> None:
    assert sentences(error) == lines


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


def test_schemas_can_be_completed() -> None:
    completion = BashComplete(cli, {}, "brim", "_BRIM_COMPLETE")
    assert [item.value for item in completion.get_completions(["schema"], "fleet")] == ["fleet"]


def test_schemas_are_listed_and_shown() -> None:
    status, out, _ = call("schema")
    assert status == 0
    assert {"dev.brim.placement.v1", "fleet"} <= set(out.splitlines())
    status, out, _ = call("schema", "fleet", "-o", "yaml")
    assert status == 0
    assert "$id: urn:brim:fleet" in out
    status, out, _ = call("schema", "placement")
    assert status == 0
    assert '"$id": "urn:brim:dev.brim.placement.v1"' in out


def test_commands_load_only_what_they_need() -> None:
    """Each starts a process, for people who wait: what takes long to load is for those that run services or plan."""
    heavy = ("numpy", "kubernetes_asyncio", "prometheus_client", "services", "opentelemetry.exporter")
    names = [name for name in COMMANDS if name not in ("demo", "up", "run")]
    code = f"""
import sys
from cli.commands import command
for name in {names}: command(name)
print([name for name in {heavy} if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


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
