"""Every error that brim raises, in one tree.

BrimError
├── Retryable                    the same call may succeed later; callers back off and try again
│   ├── BusUnavailable           NATS did not answer in time or is away
│   │   └── NotPermitted         NATS does not let this user publish or subscribe there
│   ├── MemberUnavailable        a member's API did not answer, timed out, or answered 5xx/429
│   ├── WriteConflict            somebody wrote first (HTTP 409, or a stale expected sequence)
│   ├── WatchExpired             a member forgot the resourceVersion (HTTP 410); list again
│   └── LeaseLost                this process no longer leads
└── Permanent                    the same call fails for ever until a person changes something
    ├── Invalid                  input that breaks a rule; carries field-by-field faults
    ├── NotFound                 the object named does not exist
    ├── Refused                  a member said no (HTTP 400, 401, 403, 405, 422)
    ├── AlreadyOwned             the member's object belongs to somebody else (conflictResolution: Abort)
    ├── TooLarge                 a message over the server's payload limit
    └── Misconfigured            a setting or the fleet file is wrong

A person reads `str(error)`: one sentence that names the object, the field and the remedy.
A machine reads `error.code`, a CamelCase reason like Kubernetes' own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar


class BrimError(Exception):
    """Root of the tree. `code` is stable; the sentence may be reworded."""

    code = "Internal"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class Retryable(BrimError):
    """The same call may succeed later. `retry_after` (seconds) is the other side's own wish, if it has one."""

    code = "Retryable"

    def __init__(self, message: str, *, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class Permanent(BrimError):
    """The same call fails until a person changes something."""

    code = "Permanent"


class BusUnavailable(Retryable):
    code = "BusUnavailable"


class NotPermitted(BusUnavailable):
    """Retryable: an operator gives the right at the server, and whoever asks again has it."""

    code = "NotPermitted"


class MemberUnavailable(Retryable):
    code = "MemberUnavailable"


class WriteConflict(Retryable):
    """`managers`: who owns the fields in question, where a server-side apply was refused for them."""

    code = "WriteConflict"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retry_after: float | None = None,
        managers: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, code=code, retry_after=retry_after)
        self.managers = managers


class WatchExpired(Retryable):
    code = "WatchExpired"


class LeaseLost(Retryable):
    """`epoch`: under which somebody newer was seen to write, 0 where nothing is known of him."""

    code = "LeaseLost"

    def __init__(
        self, message: str, *, code: str | None = None, retry_after: float | None = None, epoch: int = 0
    ) -> None:
        super().__init__(message, code=code, retry_after=retry_after)
        self.epoch = epoch


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with one field of one object."""

    object: str  # "PropagationPolicy test/vllm-deploy-pp", or "document 3" where no name could be read
    field: str  # "spec.placement.clusterAffinities[0].affinityName", empty for the whole object
    message: str  # what is wrong and how to mend it, without the field's name
    code: str = "Invalid"

    def __str__(self) -> str:
        where = f"{self.object}: {self.field}" if self.field else self.object
        return f"{where}: {self.message}"


class Invalid(Permanent):
    """Input that breaks a rule. `faults` has one entry per field."""

    code = "Invalid"

    def __init__(self, faults: list[Fault] | tuple[Fault, ...]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


class NotFound(Permanent):
    code = "NotFound"


class Refused(Permanent):
    code = "Refused"


class AlreadyOwned(Permanent):
    code = "AlreadyOwned"


class TooLarge(Permanent):
    code = "TooLarge"


class Misconfigured(Permanent):
    code = "Misconfigured"


E = TypeVar("E", bound=Exception)


def leaves(group: BaseExceptionGroup[E]) -> Iterator[E]:
    """The errors in a group, and in groups inside it."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
