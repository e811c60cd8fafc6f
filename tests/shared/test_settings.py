"""Settings: environment over file over default; each documented; a wrong one named in one sentence."""

from pathlib import Path

import pytest

from shared import settings
from shared.errors import Misconfigured
from shared.settings import BusSettings, HealthSettings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("BRIM_") or name == "NATS_URL":
            monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "brim.yaml"
    monkeypatch.setenv("BRIM_CONFIG", str(path))
    return path


class TestSources:
    def test_defaults_hold_without_anything(self) -> None:
        loaded = settings.load()
        assert (loaded.inventory.coalesce, loaded.descheduler.threshold, loaded.clock.speed) == (0.05, 30, 1)
        assert loaded.telemetry.otlp_endpoint == ""

    def test_the_environment_sets_nested_values(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BRIM_SCHEDULER__REST_BASE", "90")
        loaded = settings.load()
        assert (loaded.scheduler.rest_base, loaded.scheduler.rest_max) == (90, 1800)

    def test_a_file_sets_values_and_the_environment_wins(self, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config.write_text("scheduler: {rest_base: 10, rest_max: 20}\ndata: /var/lib/brim\n")
        monkeypatch.setenv("BRIM_SCHEDULER__REST_BASE", "15")
        loaded = settings.load()
        assert (loaded.scheduler.rest_base, loaded.scheduler.rest_max) == (15, 20)
        assert loaded.data == Path("/var/lib/brim")

    @pytest.mark.parametrize(
        ("setting", "variable", "urls"),
        [
            ("", None, ["nats://127.0.0.1:4222"]),
            ("", "nats://a:1", ["nats://a:1"]),
            ("nats://b:2, nats://c:3", "nats://a:1", ["nats://b:2", "nats://c:3"]),
        ],
        ids=["default", "NATS_URL", "the setting wins"],
    )
    def test_where_nats_is(
        self, monkeypatch: pytest.MonkeyPatch, setting: str, variable: str | None, urls: list[str]
    ) -> None:
        if variable:
            monkeypatch.setenv("NATS_URL", variable)
        assert BusSettings(url=setting).urls == urls

    @pytest.mark.parametrize(
        ("bus", "user", "inbox"),
        [
            pytest.param(BusSettings(), "", "_INBOX", id="nobody"),
            pytest.param(BusSettings(user="executor"), "executor", "_INBOX_executor", id="a user"),
            pytest.param(BusSettings(url="nats://me:x@a, b"), "me", "_INBOX_me", id="a user in the address"),
            pytest.param(BusSettings(url="nats://token@a"), "", "_INBOX", id="a token in the address"),
            pytest.param(BusSettings(user="executor", inbox_prefix="mine"), "executor", "mine", id="as is said"),
        ],
    )
    def test_answers_arrive_where_the_user_alone_hears_them(self, bus: BusSettings, user: str, inbox: str) -> None:
        assert (bus.user_name, bus.inbox) == (user, inbox)

    def test_one_health_port_for_all_or_one_each(self) -> None:
        assert HealthSettings().port_of("executor") == 9473
        assert HealthSettings().port_of("something else") == 0
        assert HealthSettings(port=0).port_of("executor") == 0

    def test_what_is_secret_is_not_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BRIM_BUS__PASSWORD", "hunter2")
        monkeypatch.setenv("BRIM_BUS__TOKEN", "hunter3")
        monkeypatch.setenv("BRIM_BUS__URL", "tls://me:hunter2@a:4222, hunter3@b")
        bus = settings.load().bus
        assert bus.shown == "tls://a:4222, b"
        assert bus.urls == ["tls://me:hunter2@a:4222", "hunter3@b"]
        assert bus.password.get_secret_value() == "hunter2"
        assert "hunter" not in f"{bus.password!r} {bus.token!r} {bus.model_dump_json(exclude={'url'})}"


class TestMistakes:
    @pytest.mark.parametrize(
        ("variable", "value", "words"),
        [
            ("BRIM_SCHEDULER__REST_BASE", "-1", "greater than 0"),
            ("BRIM_SCHEDULER__REST_BASE", "soon", "valid number"),
            ("BRIM_BUS__REPLICAS", "2", "1, 3 or 5"),
            ("BRIM_HEALTH__PORT", "70000", "less than or equal to 65535"),
            ("BRIM_LOG__LEVEL", "loud", "debug"),
            ("BRIM_SCHEDULER__REST_BSAE", "1", "unknown"),
        ],
    )
    def test_a_variable_is_named(self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str) -> None:
        monkeypatch.setenv(variable, value)
        with pytest.raises(Misconfigured, match=words) as caught:
            settings.load()
        assert variable in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("scheduler: {rest_base: 0}", "scheduler.rest_base"),
            ("scheduler: {rest: 0}", "scheduler.rest"),
            ("schedulers: {}", "schedulers"),
            ("scheduler: [", "no YAML"),
            ("- a\n- b", "settings"),
        ],
    )
    def test_a_files_key_is_named(self, config: Path, text: str, words: str) -> None:
        config.write_text(text)
        with pytest.raises(Misconfigured, match=words) as caught:
            settings.load()
        assert "\n" not in str(caught.value)

    def test_a_file_that_is_not_there(self, config: Path) -> None:
        with pytest.raises(Misconfigured, match=r"BRIM_CONFIG names .* which is no file"):
            settings.load()


class TestDocumentation:
    @pytest.mark.parametrize("row", list(settings.rows()), ids=lambda row: row.variable)
    def test_every_setting_says_its_unit_and_reason(self, row: settings.Row) -> None:
        assert row.unit
        assert len(row.reason) >= 10
        assert row.reason.endswith((".", "!"))

    def test_the_table_lists_every_setting(self) -> None:
        lines = settings.markdown().splitlines()
        assert len(lines) == 2 + len(list(settings.rows()))
        assert any(line.startswith("| `BRIM_BUS__URL` | address | `unset` |") for line in lines)
