"""deploy/prometheus/alerts.yaml asks for metrics that there are, with labels that they have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.settings import HealthSettings
from tests.docs.metrics_page import SERVICES, exposed

FILE = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yaml"
RULES: list[dict[str, Any]] = [rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_looks_at_what_there_is_and_says_what_to_do(rule: dict[str, Any]) -> None:
    series = re.findall(r"brim_\w+", rule["expr"])
    assert series, "it looks at nothing of brim's"
    assert set(series) <= exposed().keys()
    grouped = {label for labels in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in labels.split(", ")}
    had = {label for name in series for label in exposed()[name].labels} | {"le"}
    assert grouped <= had
    text = " ".join(rule["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", text)) <= grouped
    assert re.fullmatch(r"\d+m", rule["for"])
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"].keys() == {"summary", "description"}


def test_no_alert_has_the_name_of_another() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)


def test_every_service_is_scraped_where_it_serves_its_metrics() -> None:
    config = yaml.safe_load(FILE.with_name("prometheus.yaml").read_text(encoding="utf-8"))
    assert config["rule_files"] == [FILE.name]
    (job,) = config["scrape_configs"]
    told = {entry["labels"]["service"]: entry["targets"] for entry in job["static_configs"]}
    assert told == {name: [f"{name}:{HealthSettings().port_of(name)}"] for name in SERVICES}
