"""Text → documents: what people send, in every form that Kubernetes' own tools take."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared import documents
from shared.documents import read

GOOD: dict[str, tuple[str, list[object]]] = {
    "a JSON object": ('{"kind": "A"}', [{"kind": "A"}]),
    "a JSON array": ('[{"kind": "A"}, {"kind": "B"}]', [{"kind": "A"}, {"kind": "B"}]),
    "a List": ('{"apiVersion": "v1", "kind": "List", "items": [{"kind": "A"}]}', [{"kind": "A"}]),
    "a List of one kind": ("kind: DeploymentList\nitems: [{kind: A}, {kind: B}]", [{"kind": "A"}, {"kind": "B"}]),
    "a long line of text": ("kind: '" + "- [ " * 3000 + "'", [{"kind": "- [ " * 3000}]),
    "many YAML documents": ("kind: A\n---\nkind: B\n", [{"kind": "A"}, {"kind": "B"}]),
    "empty documents do not count": ("---\n---\nkind: A\n---\n# nothing\n", [{"kind": "A"}]),
    "YAML that looks like JSON": ("{kind: A, n: 1,}", [{"kind": "A", "n": 1}]),
    "keys become texts": ("{2: a, true: b}", [{"2": "a", "true": "b"}]),
    "dates stay texts": (
        "at: 2026-01-02\nstamp: 2026-01-02T03:04:05Z",
        [{"at": "2026-01-02", "stamp": "2026-01-02T03:04:05Z"}],
    ),
    "no numbers of base 60": ("ports: 22:30", [{"ports": "22:30"}]),
    "the largest numbers": (
        '[{"a": 18446744073709551615}, {"a": -9223372036854775808}]',
        [{"a": 18446744073709551615}, {"a": -9223372036854775808}],
    ),
    "numbers": ("a: 0x10\nb: 010\nc: 1e3\nd: 1.5\ne: 1_000", [{"a": 16, "b": 8, "c": 1000.0, "d": 1.5, "e": 1000}]),
    "null fields are absent": ("metadata: {creationTimestamp: null, a: [null]}", [{"metadata": {"a": [None]}}]),
    "anchors": ("a: &x {b: 1}\nc: *x", [{"a": {"b": 1}, "c": {"b": 1}}]),
    "merge keys": ("a: &x {b: 1}\nc:\n  <<: *x\n  d: 2", [{"a": {"b": 1}, "c": {"b": 1, "d": 2}}]),
    "other alphabets": ('{"名": "é"}', [{"名": "é"}]),
}


@pytest.mark.parametrize("name", GOOD)
def test_read(name: str) -> None:
    text, expected = GOOD[name]
    documents, faults = read(text.encode())
    assert faults == []
    assert [document.manifest for document in documents] == expected


BAD: dict[str, tuple[bytes, str]] = {
    "malformed JSON": (b'{"a": 1,\n "b": ]}', "the message: line 2: malformed JSON"),
    "malformed YAML": (b"a: 1\nb: [1\nc: 2\n", "the message: line 3: malformed YAML"),
    "a key given twice": (b"a: 1\nb: {c: 1, c: 2}\n", "the message: line 2: malformed YAML: key 'c' is given twice"),
    "a tab for indentation": (b"a:\n\tb: 1\n", "the message: line 2: malformed YAML"),
    "no text": (b"\xff\xfe{}", "the message: it is not UTF-8 text"),
    "nothing": (b"  \n", "the message: it holds no document"),
    "only comments": (b"# hello\n---\n", "the message: it holds no document"),
    "a scalar": (b"hello", "document 1: it is a text, not an object"),
    "a number": (b"7", "document 1: it is the value 7, not an object"),
    "an item that is no object": (b'[{"kind": "A"}, 3]', "document 1, item 2: it is the value 3, not an object"),
    "not a number": (b'{"a": NaN}', "the message: NaN is no JSON value"),
    "infinity": (b"a: .inf", "document 1: inf is no JSON value"),
    "half a surrogate pair": (b'{"a": "\\ud800"}', "document 1: a text holds half of a surrogate pair"),
    "a Python object": (b"a: !!python/object/apply:os.system ['true']", "the message: line 1: malformed YAML"),
    "an alias to itself": (b"a: &x [*x]", "the message: line 1: malformed YAML"),
    "control characters": (b"a: \x01", "the message: malformed YAML"),
    "too deep JSON": (b'{"a":' * 100_000, "the message: it is nested too deeply"),
    "too deep a list of YAML": (b"- " * 100_000, "the message: it is nested too deeply"),  # it ended the process
    "too deep a list behind a byte order mark": (
        b"\xef\xbb\xbf" + b"- " * 100_000,
        "the message: it is nested too deeply",
    ),
    "too deep in flow form": (b"a: " + b"[" * 100_000, "the message: it is nested too deeply"),
    "too deep by indentation": (
        "".join(" " * depth + "a:\n" for depth in range(1500)).encode(),
        "the message: it is nested too deeply",
    ),
    "too deep for us": (b"[" * 150 + b"]" * 150, "document 1, item 1: it is a list, not an object"),
    "deep inside": (b'{"a":' + b"[" * 150 + b"]" * 150 + b"}", "document 1: it is nested deeper than 100 levels"),
    "a bomb of aliases": (
        b"a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 10)) for n in range(9)),
        "document 1: it is nested deeper than 100 levels, or its aliases unfold without end",
    ),
    "bytes": (b"a: !!binary aGVsbG8=", "document 1: a value of type bytes is no JSON value"),
    "a JSON key given twice": (b'{"a": {"b": 1, "b": 2}}', "the message: key 'b' is given twice"),
    "a number of 5,000 digits in JSON": (b'{"a": ' + b"9" * 5000 + b"}", "the message: it holds a number that is too"),
    "a number of 5,000 digits in YAML": (b"a: " + b"9" * 5000, "the message: it holds a number that is too long"),
    "a hexadecimal number without end": (b"a: 0x" + b"f" * 9000, "document 1: a number is beyond 64 bits"),
    "a number beyond 64 bits": (b'{"a": -9223372036854775809}', "document 1: a number is beyond 64 bits"),
    "a number beyond all floats": (b'{"a": 1e400}', "document 1: inf is no JSON value"),
    "nothing but a number without end": (b"0x" + b"f" * 9000, "document 1: it is a number, not an object"),
    "a kind that is a number without end": (
        b"{kind: 0x" + b"f" * 9000 + b", items: []}",
        "document 1: a number is beyond 64 bits",
    ),
    "a key beyond 64 bits": (b"? 0x" + b"f" * 9000 + b"\n: a", "document 1: a number is beyond 64 bits"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused_in_a_sentence(name: str) -> None:
    data, sentence = BAD[name]
    _, faults = read(data)
    assert [str(fault) for fault in faults if str(fault).startswith(sentence)], [str(fault) for fault in faults]
    assert {fault.code for fault in faults} == {"Malformed"}


def test_the_documents_are_numbered_for_faults() -> None:
    documents, _ = read(b"kind: A\n---\n[{kind: B}, {kind: C}]\n")
    assert [document.place for document in documents] == ["document 1", "document 2, item 1", "document 2, item 2"]


NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.sampled_from(["1e400", "-1e9999", "1E3", "0.5", "1" * 5000]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.text(max_size=5), st.integers()),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150)
@given(VALUES, NUMBERS, st.booleans(), st.sampled_from(["", " ", "\n"]))
@example("\ud83d", 1, True, "")
@example({"a": {"a": None}}, 1, False, "")
def test_json_that_is_taken_as_it_is_reads_like_any_other(
    value: object, number: object, plain: bool, begin: str
) -> None:
    """What is plain is not looked at value by value: that must make no difference."""
    text = f'{begin}{{"kind": "A", "number": {number}, "value": {json.dumps(value, ensure_ascii=plain)}}}'
    data = text.encode("utf-8", "surrogatepass")
    quick = read(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "_plain_json", lambda text: None)
        assert quick == read(data)
