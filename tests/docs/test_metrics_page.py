"""docs/metrics.md names just what the services tell."""

from __future__ import annotations

import pytest

from shared.metrics import Metrics
from tests.docs.metrics_page import PAGE, SERVICES, exposed, page


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew with `make schema`"


@pytest.mark.parametrize("service", SERVICES)
def test_prometheus_is_told_those_names_and_kinds_and_no_others(service: str) -> None:
    metrics = Metrics(service)
    SERVICES[service](metrics)
    lines = [line.split() for line in metrics.render().decode().splitlines() if line.startswith("# TYPE")]
    told = {(name, kind) for _, _, name, kind in lines if not name.endswith("_created")}
    assert told == {(one.name, one.kind) for one in metrics.described}
    assert all(one.name.startswith(f"brim_{service}_") for one in metrics.described)


def test_each_has_a_unit() -> None:
    assert [one.name for one in exposed().values() if not one.unit] == []
