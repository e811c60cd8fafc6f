"""deploy/prometheus/alerts.yaml asks for metrics that there are, with labels that they have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.settings import HealthSettings
from tests.docs.metrics_page import SERVICES, exposed
from tests.prometheus.cases import cases

FILE = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yaml"
RULES: list[dict[str, Any]] = [rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]]
RECORDED = {rule["record"]: rule for rule in RULES if "record" in rule}
ALERTS = [rule for rule in RULES if "alert" in rule]


def series_of(rule: dict[str, Any]) -> set[str]:
    """All that it looks at, through what is recorded too."""
    names = re.findall(r"brim[:_][\w:]+", rule["expr"])
    return {name for known in names for name in (series_of(RECORDED[known]) if known in RECORDED else {known})}


def labels_of(rule: dict[str, Any]) -> set[str]:
    """What its result is labelled by."""
    text = rule["expr"]
    found = {label for labels in re.findall(r"by \(([^)]*)\)", text) for label in labels.split(", ")}
    found |= set(re.findall(r', "(\w+)", "\w+", "", ""\)', text))
    for name in RECORDED.keys() & set(re.findall(r"brim:[\w:]+", text)):
        found |= labels_of(RECORDED[name])
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_looks_at_what_there_is(rule: dict[str, Any]) -> None:
    series = series_of(rule)
    assert series, "it looks at nothing of brim's"
    assert series <= exposed().keys()
    had = {label for name in series for label in exposed()[name].labels}
    assert labels_of(rule) <= had | {"le", "service"}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    text = " ".join(rule["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels_of(rule)
    assert re.fullmatch(r"\d+m", rule["for"])
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"].keys() == {"summary", "description"}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_it_is_tried_when_an_alert_fires_and_when_not(rule: dict[str, Any]) -> None:
    tried = [case for case in cases() if case.alert == rule["alert"]]
    assert any(case.fires for case in tried)
    assert any(case.silent for case in tried)


def test_no_alert_has_the_name_of_another() -> None:
    names = [rule["alert"] for rule in ALERTS]
    assert len(set(names)) == len(names)


def test_every_service_is_scraped_where_it_serves_its_metrics() -> None:
    config = yaml.safe_load(FILE.with_name("prometheus.yaml").read_text(encoding="utf-8"))
    assert config["rule_files"] == [FILE.name]
    (job,) = config["scrape_configs"]
    told = {entry["labels"]["service"]: entry["targets"] for entry in job["static_configs"]}
    assert told == {name: [f"{name}:{HealthSettings().port_of(name)}"] for name in SERVICES}
