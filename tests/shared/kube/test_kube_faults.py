"""Every wrong answer of a member becomes one of brim's errors, in a sentence that names member and request."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import pytest
from aiohttp import web

from shared import telemetry
from shared.contracts.base import JsonObject
from shared.contracts.refs import ObjectRef
from shared.errors import BrimError, MemberUnavailable, NotFound, Refused, WatchExpired, WriteConflict
from shared.kube import NODES, KubeObject, MemberClient, faults

SETTINGS = ObjectRef(version="v1", kind="ConfigMap", namespace="default", name="settings")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Refused),
        (401, Refused),
        (403, Refused),
        (404, NotFound),
        (405, Refused),
        (409, WriteConflict),
        (410, WatchExpired),
        (422, Refused),
        (429, MemberUnavailable),
        (500, MemberUnavailable),
        (503, MemberUnavailable),
        (504, MemberUnavailable),
    ],
)
async def test_a_status_code_is_an_error(one_member, status: int, error: type[BrimError]) -> None:
    async with one_member() as one, one.client() as client:
        await client.resource_of("", "v1", "ConfigMap")
        one.member.faults.answer(status, path="configmaps")
        with pytest.raises(error) as raised:
            await client.get(SETTINGS)
    assert type(raised.value) is error
    assert "member idc: get ConfigMap default/settings: a fault was injected" in str(raised.value)


async def test_the_servers_wish_to_wait_is_kept(one_member) -> None:
    async with one_member() as one, one.client() as client:
        one.member.faults.answer(429, path="version", retry_after=7)
        with pytest.raises(MemberUnavailable) as raised:
            await client.ping()
    assert raised.value.retry_after == 7.0
    assert raised.value.code == "TooManyRequests"


async def test_a_hung_request_ends_in_time(one_member) -> None:
    async with one_member() as one, one.client() as client:
        one.member.faults.hang(path="version")
        with pytest.raises(MemberUnavailable, match="no answer in time"):
            await client.ping(timeout=0.2)


async def test_what_a_member_says_about_a_secret_is_withheld(one_member) -> None:
    """It may quote what it refuses, and an error's sentence goes into logs, traces and messages."""
    metadata: dict[str, object] = {"name": "key", "namespace": "default"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
    broken = {**secret, "metadata": {**metadata, "labels": {"is": "hunter2!"}}}  # what a label must not be
    async with one_member() as one, one.client() as client:
        for write in (client.create, partial(client.apply, manager="brim")):
            with telemetry.recorded() as spans, pytest.raises(BrimError) as raised, telemetry.span("apply"):
                await write(broken)  # type: ignore[operator]
            assert "words are withheld" in str(raised.value)
            assert "hunter2" not in repr([span.status for span in spans.exporter.get_finished_spans()])
        one.member.faults.answer(429, path="secrets", retry_after=7)
        with pytest.raises(MemberUnavailable) as unavailable:
            await client.get(ObjectRef.of(secret))
        assert unavailable.value.retry_after == 7


async def test_an_error_without_an_end_is_not_read_to_its_end(one_member, serving) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=500)
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b"x" * 65536)
        return response

    async with one_member() as one, serving(endless) as url, one.client() as client:
        client._transport._connections.host = url
        with pytest.raises(MemberUnavailable, match="xxx"):
            await client.ping(timeout=20)


@pytest.mark.parametrize("fault", ["reset", "rubbish"])
async def test_a_broken_answer_is_no_answer(one_member, fault: str) -> None:
    async with one_member() as one, one.client() as client:
        getattr(one.member.faults, fault)(path="version")
        with pytest.raises(MemberUnavailable, match="member idc: read /version"):
            await client.ping()


async def test_rubbish_for_a_list_is_no_empty_list(one_member) -> None:
    async with one_member() as one, one.client() as client:
        one.member.faults.rubbish(path="/nodes")
        with pytest.raises(MemberUnavailable, match="not what Kubernetes answers"):
            [page async for page in client.list_pages(NODES, KubeObject)]


BODIES = {
    "nothing": b"",
    "no JSON": b"\x00\xff<<",
    "a page": b"<html>It works!</html>",
    "null": b"null",
    "a list": b"[]",
    "an empty object": b"{}",
    "an object without identity": b'{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}',
    "metadata of another form": b'{"metadata": "settings", "resources": {}, "gitVersion": 1}',
}
CALLS: dict[str, Callable[[MemberClient, JsonObject], Awaitable[object]]] = {
    "ping": lambda client, _: client.ping(),
    "discovery": lambda client, _: client.resource_of("apps", "v1", "Deployment"),
    "list": lambda client, _: anext(client.list_pages(NODES, KubeObject)),
    "get": lambda client, _: client.get(SETTINGS),
    "create": lambda client, wanted: client.create(wanted),
    "apply": lambda client, wanted: client.apply(wanted, manager="brim"),
    "patch": lambda client, _: client.merge_patch(SETTINGS, {"data": {"a": "1"}}),
    "delete": lambda client, _: client.delete(SETTINGS),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("call", CALLS)
async def test_rubbish_is_no_answer_whatever_was_asked(one_member, config_map, call: str, body: str) -> None:
    """Also where it is JSON: an object without an identity must be neither "not brim's" nor "deleted"."""
    async with one_member() as one, one.client() as client:
        await client.resource_of("", "v1", "ConfigMap")
        one.member.faults.rubbish(body=BODIES[body])
        with pytest.raises(MemberUnavailable, match="member idc: ") as raised:
            await CALLS[call](client, config_map())
        assert len(str(raised.value)) < 300


async def test_a_status_of_success_is_an_answer_to_a_deletion_only(one_member, config_map) -> None:
    success = b'{"kind": "Status", "apiVersion": "v1", "status": "Success"}'
    async with one_member() as one, one.client() as client:
        await client.resource_of("", "v1", "ConfigMap")
        one.member.faults.rubbish(body=success)
        assert await client.delete(SETTINGS) is True
        with pytest.raises(MemberUnavailable):
            await client.get(SETTINGS)


async def test_a_member_that_is_away_is_unavailable(one_member) -> None:
    async with one_member() as one, one.client() as client:
        await one.member.pause()
        with pytest.raises(MemberUnavailable):
            await client.ping()
        await one.member.resume()
        assert await client.ping() == "v1.34.1"


def _status(code: int, reason: str, **details: object) -> bytes:
    return json.dumps(
        {"kind": "Status", "code": code, "reason": reason, "message": "said so", "details": details}
    ).encode()


def test_a_refused_apply_names_the_managers() -> None:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl" using apps/v1',
            "field": ".spec.replicas",
        },
        {"reason": "FieldManagerConflict", "message": 'conflict with "argo"', "field": ".spec.paused"},
        {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl" using v1', "field": ".data"},
    ]
    error = faults.error_of("idc", "apply Deployment test/web", 409, _status(409, "Conflict", causes=causes), {})
    assert isinstance(error, WriteConflict)
    assert (error.code, error.managers) == ("FieldManagerConflict", ("kubectl", "argo"))


def test_a_namespace_that_goes_is_told_from_what_is_forbidden() -> None:
    causes = [{"reason": "NamespaceTerminating", "message": "namespace test is being terminated"}]
    error = faults.error_of("idc", "apply", 403, _status(403, "Forbidden", causes=causes), {})
    assert (type(error), error.code) == (Refused, "NamespaceTerminating")


def test_another_objects_uid_is_a_conflict_however_it_is_said() -> None:
    causes = [{"reason": "FieldValueInvalid", "message": "field is immutable", "field": "metadata.uid"}]
    error = faults.error_of("idc", "patch", 422, _status(422, "Invalid", causes=causes), {})
    assert (type(error), error.code) == (WriteConflict, "Conflict")


@pytest.mark.parametrize("reason", ["AlreadyExists", "Conflict"])
def test_other_conflicts_keep_their_reason(reason: str) -> None:
    error = faults.error_of("idc", "create", 409, _status(409, reason), {})
    assert (type(error), error.code) == (WriteConflict, reason)


def test_a_page_of_some_proxy_is_quoted_but_not_at_length() -> None:
    error = faults.error_of("idc", "get", 502, b"<html>\n" + b"x" * 5000, {})
    assert isinstance(error, MemberUnavailable)
    assert len(str(error)) < 300


def test_a_member_that_has_much_to_say_is_cut_short() -> None:
    """An outcome that quotes it must still fit into a message."""
    body = json.dumps({"kind": "Status", "code": 422, "reason": "Invalid", "message": "no" * 500_000}).encode()
    assert len(str(faults.error_of("idc", "apply", 422, body, {}))) < 2100


def test_no_server_puts_us_off_for_ever() -> None:
    error = faults.error_of("idc", "get", 503, b"", {"Retry-After": "86400"})
    assert isinstance(error, MemberUnavailable)
    assert error.retry_after == 300.0
