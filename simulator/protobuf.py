"""Request bodies in Kubernetes' protobuf encoding, read into the objects that JSON would have given.

`kubectl create deployment`, `create namespace` and their kin send nothing else. Only the kinds and fields that
such commands write are known here; an unknown field is refused, never dropped. Numbers and types are those of
Kubernetes' published generated.proto files.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

from shared.clock import rfc3339
from simulator.objects import Object

MAGIC = b"k8s\x00"

Decoder = Callable[[Any], Any]


class ProtobufError(ValueError):
    """The body is no protobuf that this API server reads."""


def decode(body: bytes) -> Object:
    """A whole request body: the magic bytes, then runtime.Unknown around the object."""
    if not body.startswith(MAGIC):
        raise ProtobufError("the body does not start with Kubernetes' protobuf prefix")
    outer: dict[int, Any] = dict(_fields(body[len(MAGIC) :]))
    meta = dict(_fields(outer.get(1, b"")))
    api_version, kind = meta.get(1, b"").decode(), meta.get(2, b"").decode()
    decoder = _KINDS.get(kind)
    if decoder is None:
        raise ProtobufError(f"{kind or 'an object without kind'} is only read as JSON or YAML")
    return {"apiVersion": api_version, "kind": kind, **decoder(outer.get(2, b""))}


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Field number and raw value: int for varints, bytes for what has a length."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield number, value
        elif wire == 2:
            length, position = _varint(data, position)
            if position + length > len(data):
                raise ProtobufError("the protobuf body ends in the middle of a field")
            yield number, data[position : position + length]
            position += length
        else:
            raise ProtobufError(f"protobuf wire type {wire} is not used by Kubernetes")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ProtobufError("the protobuf body ends in the middle of a number")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
        shift += 7


# -- the types of fields: each takes a raw value and returns JSON, or None for "not set"


def _text(raw: bytes) -> str | None:
    return raw.decode() or None


def _pointer_text(raw: bytes) -> str:
    return raw.decode()


def _number(raw: int) -> int | None:
    return _pointer_number(raw) or None


def _pointer_number(raw: int) -> int:
    return raw - (1 << 64) if raw >= 1 << 63 else raw


def _flag(raw: int) -> bool | None:
    return True if raw else None


def _pointer_flag(raw: int) -> bool:
    return bool(raw)


def _time(raw: bytes) -> str | None:
    seconds = dict(_fields(raw)).get(1)
    return rfc3339(seconds) if seconds else None


def _quantity(raw: bytes) -> str:
    return str(dict(_fields(raw)).get(1, b"").decode())


def _int_or_string(raw: bytes) -> int | str:
    found = dict(_fields(raw))
    return found.get(3, b"").decode() if found.get(1) == 1 else _pointer_number(found.get(2, 0))


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _ignored(raw: Any) -> None:
    """A status: clients send empty ones."""


class _Many:
    """A repeated field."""

    def __init__(self, item: Decoder) -> None:
        self.item = item


class _Map:
    """A map with string keys."""

    def __init__(self, value: Decoder) -> None:
        self.value = value


class _Message:
    """A message: field number → (JSON name, type). `keep`: an empty one means something."""

    def __init__(self, *, keep: bool = False, **fields: tuple[int, Any]) -> None:
        self.fields = {number: (name, kind) for name, (number, kind) in fields.items()}
        self.keep = keep

    def __call__(self, raw: bytes) -> Object | None:
        found: Object = {}
        for number, value in _fields(raw):
            if number not in self.fields:
                raise ProtobufError(f"protobuf field {number} is only read as JSON or YAML")
            name, kind = self.fields[number]
            if isinstance(kind, _Many):
                found.setdefault(name, []).append(kind.item(value))
            elif isinstance(kind, _Map):
                entry = dict(_fields(value))
                found.setdefault(name, {})[entry.get(1, b"").decode()] = kind.value(entry.get(2, b""))
            elif (decoded := kind(value)) is not None:
                found[name] = decoded
        return found if found or self.keep else None


def _strings(raw: bytes) -> str:
    return raw.decode()


_texts, _labels = _Many(_strings), _Map(_strings)
_owner = _Message(
    kind=(1, _text), name=(3, _text), uid=(4, _text), apiVersion=(5, _text),
    controller=(6, _pointer_flag), blockOwnerDeletion=(7, _pointer_flag),
)  # fmt: skip
_metadata = _Message(
    name=(1, _text), generateName=(2, _text), namespace=(3, _text), selfLink=(4, _text), uid=(5, _text),
    resourceVersion=(6, _text), generation=(7, _number), creationTimestamp=(8, _time),
    deletionTimestamp=(9, _time), deletionGracePeriodSeconds=(10, _pointer_number), labels=(11, _labels),
    annotations=(12, _labels), ownerReferences=(13, _Many(_owner)), finalizers=(14, _texts),
)  # fmt: skip
_selector = _Message(
    keep=True,
    matchLabels=(1, _labels),
    matchExpressions=(2, _Many(_Message(key=(1, _text), operator=(2, _text), values=(3, _texts)))),
)
_reference = _Message(
    kind=(1, _text), namespace=(2, _text), name=(3, _text), uid=(4, _text), apiVersion=(5, _text),
    resourceVersion=(6, _text), fieldPath=(7, _text),
)  # fmt: skip
_resources = _Message(limits=(1, _Map(_quantity)), requests=(2, _Map(_quantity)))
_port = _Message(
    name=(1, _text), hostPort=(2, _number), containerPort=(3, _number), protocol=(4, _text), hostIP=(5, _text)
)
_container = _Message(
    name=(1, _text), image=(2, _text), command=(3, _texts), args=(4, _texts), workingDir=(5, _text),
    ports=(6, _Many(_port)), env=(7, _Many(_Message(name=(1, _text), value=(2, _text)))),
    resources=(8, _resources), terminationMessagePath=(13, _text), imagePullPolicy=(14, _text),
    stdin=(16, _flag), stdinOnce=(17, _flag), tty=(18, _flag), terminationMessagePolicy=(20, _text),
)  # fmt: skip
_toleration = _Message(
    key=(1, _text), operator=(2, _text), value=(3, _text), effect=(4, _text),
    tolerationSeconds=(5, _pointer_number),
)  # fmt: skip
_pod_spec = _Message(
    containers=(2, _Many(_container)), restartPolicy=(3, _text),
    terminationGracePeriodSeconds=(4, _pointer_number), activeDeadlineSeconds=(5, _pointer_number),
    dnsPolicy=(6, _text), nodeSelector=(7, _labels), serviceAccountName=(8, _text),
    serviceAccount=(9, _text), nodeName=(10, _text), hostNetwork=(11, _flag), hostPID=(12, _flag),
    hostIPC=(13, _flag), securityContext=(14, _Message(keep=True)),
    imagePullSecrets=(15, _Many(_Message(name=(1, _text)))), hostname=(16, _text), subdomain=(17, _text),
    schedulerName=(19, _text), initContainers=(20, _Many(_container)),
    automountServiceAccountToken=(21, _pointer_flag), tolerations=(22, _Many(_toleration)),
    priorityClassName=(24, _text), priority=(25, _pointer_number),
)  # fmt: skip
_template = _Message(metadata=(1, _metadata), spec=(2, _pod_spec))
_rolling = _Message(keep=True, maxUnavailable=(1, _int_or_string), maxSurge=(2, _int_or_string))
_deployment_spec = _Message(
    replicas=(1, _pointer_number), selector=(2, _selector), template=(3, _template),
    strategy=(4, _Message(type=(1, _text), rollingUpdate=(2, _rolling))), minReadySeconds=(5, _number),
    revisionHistoryLimit=(6, _pointer_number), paused=(7, _flag), progressDeadlineSeconds=(9, _pointer_number),
)  # fmt: skip
_job_spec = _Message(
    parallelism=(1, _pointer_number), completions=(2, _pointer_number),
    activeDeadlineSeconds=(3, _pointer_number), selector=(4, _selector), manualSelector=(5, _pointer_flag),
    template=(6, _template), backoffLimit=(7, _pointer_number), ttlSecondsAfterFinished=(8, _pointer_number),
    completionMode=(9, _pointer_text), suspend=(10, _pointer_flag),
)  # fmt: skip
_cronjob_spec = _Message(
    schedule=(1, _text), startingDeadlineSeconds=(2, _pointer_number), concurrencyPolicy=(3, _text),
    suspend=(4, _pointer_flag), jobTemplate=(5, _Message(metadata=(1, _metadata), spec=(2, _job_spec))),
    successfulJobsHistoryLimit=(6, _pointer_number), failedJobsHistoryLimit=(7, _pointer_number),
    timeZone=(8, _pointer_text),
)  # fmt: skip
_service_port = _Message(
    name=(1, _text), protocol=(2, _text), port=(3, _number), targetPort=(4, _int_or_string),
    nodePort=(5, _number), appProtocol=(6, _pointer_text),
)  # fmt: skip
_service_spec = _Message(
    ports=(1, _Many(_service_port)), selector=(2, _labels), clusterIP=(3, _text), type=(4, _text),
    externalIPs=(5, _texts), sessionAffinity=(7, _text), loadBalancerIP=(8, _text), externalName=(10, _text),
    externalTrafficPolicy=(11, _text), healthCheckNodePort=(12, _number),
    publishNotReadyAddresses=(13, _flag), ipFamilyPolicy=(17, _pointer_text), clusterIPs=(18, _texts),
    ipFamilies=(19, _texts), internalTrafficPolicy=(22, _pointer_text),
)  # fmt: skip
_budget_spec = _Message(minAvailable=(1, _int_or_string), selector=(2, _selector), maxUnavailable=(3, _int_or_string))
_rule = _Message(
    verbs=(1, _texts), apiGroups=(2, _texts), resources=(3, _texts), resourceNames=(4, _texts),
    nonResourceURLs=(5, _texts),
)  # fmt: skip
_subject = _Message(kind=(1, _text), apiGroup=(2, _text), name=(3, _text), namespace=(4, _text))
_role_ref = _Message(apiGroup=(1, _text), kind=(2, _text), name=(3, _text))
_delete_options = _Message(
    gracePeriodSeconds=(1, _pointer_number),
    preconditions=(2, _Message(uid=(1, _pointer_text), resourceVersion=(2, _pointer_text))),
    orphanDependents=(3, _pointer_flag), propagationPolicy=(4, _pointer_text), dryRun=(5, _texts),
)  # fmt: skip


def _kind(**fields: tuple[int, Any]) -> Callable[[bytes], Object]:
    message = _Message(keep=True, metadata=(1, _metadata), **fields)
    return lambda raw: message(raw) or {}


_delete = _Message(keep=True, **{name: (number, kind) for number, (name, kind) in _delete_options.fields.items()})

_KINDS: dict[str, Callable[[bytes], Object]] = {
    "Namespace": _kind(spec=(2, _Message(finalizers=(1, _texts))), status=(3, _ignored)),
    "ConfigMap": _kind(data=(2, _labels), binaryData=(3, _Map(_base64)), immutable=(4, _pointer_flag)),
    "Secret": _kind(data=(2, _Map(_base64)), type=(3, _text), stringData=(4, _labels), immutable=(5, _pointer_flag)),
    "ServiceAccount": _kind(
        secrets=(2, _Many(_reference)),
        imagePullSecrets=(3, _Many(_Message(name=(1, _text)))),
        automountServiceAccountToken=(4, _pointer_flag),
    ),
    "Service": _kind(spec=(2, _service_spec), status=(3, _ignored)),
    "Pod": _kind(spec=(2, _pod_spec), status=(3, _ignored)),
    "Deployment": _kind(spec=(2, _deployment_spec), status=(3, _ignored)),
    "Job": _kind(spec=(2, _job_spec), status=(3, _ignored)),
    "CronJob": _kind(spec=(2, _cronjob_spec), status=(3, _ignored)),
    "PodDisruptionBudget": _kind(spec=(2, _budget_spec), status=(3, _ignored)),
    "PriorityClass": _kind(
        value=(2, _pointer_number),
        globalDefault=(3, _flag),
        description=(4, _text),
        preemptionPolicy=(5, _pointer_text),
    ),
    "Role": _kind(rules=(2, _Many(_rule))),
    "ClusterRole": _kind(rules=(2, _Many(_rule))),
    "RoleBinding": _kind(subjects=(2, _Many(_subject)), roleRef=(3, _role_ref)),
    "ClusterRoleBinding": _kind(subjects=(2, _Many(_subject)), roleRef=(3, _role_ref)),
    "Eviction": _kind(deleteOptions=(2, _delete_options)),
    "Binding": _kind(target=(2, _reference)),
    "Scale": _kind(spec=(2, _Message(keep=True, replicas=(1, _pointer_number))), status=(3, _ignored)),
    "DeleteOptions": lambda raw: _delete(raw) or {},
}
