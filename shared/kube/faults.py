"""From HTTP status codes to brim's errors.

| answer | error |
|---|---|
| 404 | NotFound |
| 409 | WriteConflict: code AlreadyExists, Conflict, or FieldManagerConflict with the managers |
| 422 to a patch that names another object's uid | WriteConflict: code Conflict |
| 410 | WatchExpired |
| 500 to a server-side apply of a field that the member does not know | Refused: code FieldNotDeclared |
| 429, 5xx, no answer, no Kubernetes answer | MemberUnavailable, with the server's Retry-After |
| other 4xx | Refused, in the server's words; code is its reason ("Forbidden", "Invalid", …) or NamespaceTerminating |
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping

from pydantic import ValidationError

from shared.errors import BrimError, MemberUnavailable, NotFound, Refused, WatchExpired, WriteConflict
from shared.kube.projection import Projection
from shared.numbers import whole

NAMESPACE_TERMINATING = "NamespaceTerminating"
FIELD_NOT_DECLARED = "FieldNotDeclared"

_UID = "metadata.uid"  # a precondition of ours wherever we send it: nobody changes it
_UNTYPED = "failed to create typed patch object"  # how the API server begins to say so

_MANAGER = re.compile(r'conflict with "((?:[^"\\]|\\.)*)"')
_LONGEST_RETRY_AFTER = 300.0  # seconds: no member may put us off for longer
_LONGEST = 2000  # characters of a member's words: they go into messages, which have a limit
_EXCERPT = 200  # characters of an answer that is no Status


class Cause(Projection):
    reason: str = ""
    message: str = ""
    field: str = ""


class Details(Projection):
    causes: tuple[Cause, ...] = ()
    retry_after_seconds: int = 0


class Status(Projection):
    """Kubernetes' own form of an error: metav1.Status."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: Details = Details()


def error_of(member: str, what: str, status: int, body: bytes, headers: Mapping[str, str]) -> BrimError:
    """The error that an answer with `status` means. what: "apply Deployment test/web"."""
    told = _status(body)
    return error_of_status(member, what, status, told, _retry_after(told, headers))


def error_of_status(member: str, what: str, code: int, told: Status, retry_after: float | None = None) -> BrimError:
    said = _shortened(told.message) or f"HTTP {code}"
    sentence = f"member {member}: {what}: {said}"
    if code == 404:
        return NotFound(sentence)
    if code == 409:
        return _conflict(sentence, told)
    if code == 422 and any(cause.field == _UID for cause in told.details.causes):
        return WriteConflict(sentence, code="Conflict")  # a PUT with another uid is a 409; of a patch it is said so
    if code == 410:
        return WatchExpired(sentence)
    if code == 500 and told.message.startswith(_UNTYPED):
        return Refused(sentence, code=FIELD_NOT_DECLARED)  # only this object is wrong, and stays so
    if code == 429 or code >= 500 or code < 400:
        return MemberUnavailable(sentence, code=told.reason or "MemberUnavailable", retry_after=retry_after)
    return Refused(sentence, code=_passing(told) or told.reason or "Refused")


def _shortened(words: str) -> str:
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"


def _passing(told: Status) -> str:
    """The one refusal that passes by itself: a namespace that goes is made anew once it is gone."""
    return next((c.reason for c in told.details.causes if c.reason == NAMESPACE_TERMINATING), "")


def unavailable(member: str, what: str, why: str) -> MemberUnavailable:
    """The member did not answer as a Kubernetes API does."""
    return MemberUnavailable(f"member {member}: {what}: {why}")


def withheld(error: BrimError, member: str, what: str) -> BrimError:
    """The same error without the member's words: of a Secret they may quote the content, and an error's sentence
    goes into logs, traces and messages."""
    quiet = copy.copy(error)
    quiet.args = (
        f"member {member}: {what}: {error.code}; the member's own words are withheld, for they may quote the Secret",
    )
    return quiet


def _conflict(sentence: str, told: Status) -> WriteConflict:
    conflicts = [cause for cause in told.details.causes if cause.reason == "FieldManagerConflict"]
    if not conflicts:
        return WriteConflict(sentence, code=told.reason or "Conflict")
    named = (match.group(1) for cause in conflicts if (match := _MANAGER.search(cause.message)))
    managers = tuple(dict.fromkeys(named))
    return WriteConflict(sentence, code="FieldManagerConflict", managers=managers)


def _status(body: bytes) -> Status:
    try:
        return Status.model_validate_json(body)
    except ValidationError:
        text = " ".join(body.decode("utf-8", errors="replace").split())
        return Status(message=text[:_EXCERPT])


def _retry_after(told: Status, headers: Mapping[str, str]) -> float | None:
    asked = whole(headers.get("Retry-After", ""))
    seconds = float(told.details.retry_after_seconds if asked is None else asked)
    return min(max(0.0, seconds), _LONGEST_RETRY_AFTER) or None
