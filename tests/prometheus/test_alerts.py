"""What deploy/prometheus holds, as promtool judges it: it loads, and each alert fires when it should and only then."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.prometheus.cases import RULES, Case, cases, unit_test
from tests.prometheus.running import find, promtool
from tests.real.golang import Missing

pytestmark = pytest.mark.prometheus


@pytest.fixture(scope="module", autouse=True)
def tool() -> None:
    """Skips where there is none."""
    try:
        find("promtool")
    except Missing as missing:
        pytest.skip(str(missing))


def test_prometheus_takes_the_configuration() -> None:
    assert "SUCCESS" in promtool(
        "check", "config", "--lint=all", "--lint-fatal", str(RULES.with_name("prometheus.yaml"))
    )


def test_prometheus_takes_the_rules() -> None:
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


@pytest.mark.parametrize("case", cases(), ids=str)
def test_an_alert_fires_when_it_should_and_only_then(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump(unit_test(case)), encoding="utf-8")
    promtool("test", "rules", str(file))
