"""Label selectors in kubectl's form."""

from __future__ import annotations

import pytest

from services.inventory.core import selectors
from shared.errors import Invalid


@pytest.mark.parametrize(
    ("text", "labels", "fits"),
    [
        ("", {}, True),
        ("app=web", {"app": "web"}, True),
        ("app==web", {"app": "web"}, True),
        ("app=web", {"app": "db"}, False),
        ("app=web", {}, False),
        ("app!=web", {}, True),
        ("app!=web", {"app": "web"}, False),
        ("app", {"app": ""}, True),
        ("app", {}, False),
        ("!app", {}, True),
        ("!app", {"app": "x"}, False),
        ("app in (web, db)", {"app": "db"}, True),
        ("app in (web,db)", {"app": "x"}, False),
        ("app notin (web,db),tier=1", {"tier": "1"}, True),
        ("app.kubernetes.io/name=web,tier in (a),!old", {"app.kubernetes.io/name": "web", "tier": "a"}, True),
    ],
)
def test_fits(text: str, labels: dict[str, str], fits: bool) -> None:
    assert all(one.fits(labels) for one in selectors.parse(text)) is fits


@pytest.mark.parametrize("text", ["app in web", "a=b=c", "app in (web", "a b"])
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="label selector"):
        selectors.parse(text)
