"""Subjects: one reversible encoding, whatever the names hold."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts import subjects
from shared.contracts.refs import ObjectRef

TOKEN = re.compile(r"[^.*>\s]+")


@given(st.text())
def test_every_text_survives_its_token(text: str) -> None:
    token = subjects.encode(text)
    assert TOKEN.fullmatch(token)
    assert token.isascii()
    assert subjects.decode(token) == text


@given(st.text(), st.text())
def test_two_texts_never_share_a_token(first: str, second: str) -> None:
    assert (subjects.encode(first) == subjects.encode(second)) == (first == second)


@given(kind=st.text(min_size=1), group=st.text(), namespace=st.text(), name=st.text(), member=st.text())
def test_an_object_is_read_back_from_its_subject(kind: str, group: str, namespace: str, name: str, member: str) -> None:
    ref = ObjectRef(group=group, version="v1", kind=kind, namespace=namespace, name=name)
    assert subjects.object_key(subjects.placement(ref)) == ref.key
    status = subjects.status(member, ref)
    assert subjects.object_key(status, skip=3) == ref.key
    assert subjects.member_of(status) == member


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("web-demo", "web-demo"),
        ("v1.34", "v1%2E34"),
        ("", "%"),
        ("_", "%5F"),
        ("a b", "a%20b"),
        ("*", "%2A"),
        (">", "%3E"),
        ("100%", "100%25"),
        ("北京", "%E5%8C%97%E4%BA%AC"),
    ],
)
def test_tokens_as_documented(text: str, token: str) -> None:
    assert subjects.encode(text) == token


def test_cluster_scope_is_apart_from_a_namespace_of_that_name() -> None:
    scoped = ObjectRef(version="v1", kind="Namespace", name="test")
    named = ObjectRef(version="v1", kind="Namespace", namespace="_", name="test")
    assert subjects.desired(scoped) == "brim.desired.Namespace~._.test"
    assert subjects.desired(named) == "brim.desired.Namespace~.%5F.test"


@pytest.mark.parametrize(
    "subject",
    ["brim.desired", "brim.desired.Deployment~apps.test", "brim.desired.Deployment.test.web", "brim.desired.a~.b.c.d"],
)
def test_a_subject_of_another_form_names_no_object(subject: str) -> None:
    assert subjects.object_key(subject) == ("", "", "", subject)


def test_a_revision_is_read_back_from_its_subject() -> None:
    assert subjects.revision_of(subjects.revision("a.b", 7)) == ("a.b", 7)
    for subject in ("brim.revision.a", "brim.revision.a.b", "brim.revision.a.-1", "brim.revision.a.b.1"):
        assert subjects.revision_of(subject) is None, subject
