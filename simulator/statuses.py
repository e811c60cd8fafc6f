"""The API's answers to what it refuses: `Status` bodies, shaped and worded as Kubernetes does."""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import Permanent
from simulator.objects import Object
from simulator.resources import Resource


@dataclass(frozen=True, slots=True)
class Cause:
    """One entry of details.causes. field: empty where no field is the cause."""

    reason: str
    message: str
    field: str = ""

    @property
    def shown(self) -> Object:
        return {"reason": self.reason, "message": self.message, **({"field": self.field} if self.field else {})}


class ApiError(Permanent):
    """A request that the simulated API server refuses; `body` is what goes over the wire."""

    def __init__(
        self,
        http_status: int,
        reason: str,
        message: str,
        *,
        resource: Resource | None = None,
        name: str = "",
        uid: str = "",
        causes: tuple[Cause, ...] = (),
        retry_after: int = 0,
    ) -> None:
        super().__init__(message, code=reason)
        self.http_status = http_status
        self.retry_after = retry_after
        details: Object = {}
        if name:
            details["name"] = name
        if resource is not None:
            if resource.group:
                details["group"] = resource.group
            # Invalid is the one reason for which Kubernetes names the kind, not the resource.
            details["kind"] = resource.kind if reason == "Invalid" else resource.plural
        if uid:
            details["uid"] = uid
        if causes:
            details["causes"] = [cause.shown for cause in causes]
        if retry_after:
            details["retryAfterSeconds"] = retry_after
        self.body: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            **({"reason": reason} if reason else {}),
            **({"details": details} if details else {}),
            "code": http_status,
        }


def success(resource: Resource, name: str, uid: str) -> Object:
    details: Object = {"name": name, "kind": resource.plural, "uid": uid}
    if resource.group:
        details["group"] = resource.group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def not_found(resource: Resource, name: str) -> ApiError:
    message = f'{resource.qualified} "{name}" not found'
    return ApiError(404, "NotFound", message, resource=resource, name=name)


def no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(resource: Resource, name: str) -> ApiError:
    message = f'{resource.qualified} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, resource=resource, name=name)


def conflict(resource: Resource, name: str, why: str) -> ApiError:
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message, resource=resource, name=name)


def modified(resource: Resource, name: str) -> ApiError:
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(resource, name, why)


def invalid(resource: Resource, name: str, causes: list[Cause]) -> ApiError:
    """422. Each cause's message is Kubernetes' sentence without the field's name."""
    qualified = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    sentences = [f"{cause.field}: {cause.message}" for cause in causes]
    text = sentences[0] if len(sentences) == 1 else "[" + ", ".join(sentences) + "]"
    message = f'{qualified} "{name}" is invalid: {text}'
    return ApiError(422, "Invalid", message, resource=resource, name=name, causes=tuple(causes))


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def forbidden(resource: Resource, name: str, why: str, *causes: Cause) -> ApiError:
    message = f'{resource.qualified} "{name}" is forbidden: {why}'
    return ApiError(403, "Forbidden", message, resource=resource, name=name, causes=causes)


def terminating(resource: Resource, name: str, space: str) -> ApiError:
    """Nothing is created any more in a namespace that goes."""
    why = f"unable to create new content in namespace {space} because it is being terminated"
    cause = Cause("NamespaceTerminating", f"namespace {space} is being terminated", "metadata.namespace")
    return forbidden(resource, name, why, cause)


def expired(message: str) -> ApiError:
    return ApiError(410, "Expired", message)


def not_allowed(message: str = "the server does not allow this method on the requested resource") -> ApiError:
    return ApiError(405, "MethodNotAllowed", message)


def unsupported_media(supported: tuple[str, ...], why: str = "") -> ApiError:
    listed = ", ".join(supported) + (f" ({why})" if why else "")
    message = f"the body of the request was in an unknown format - accepted media types include: {listed}"
    return ApiError(415, "UnsupportedMediaType", message)
