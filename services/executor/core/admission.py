"""The policy by which a member sends pods that ask for ECI to brim's scheduler: what ACK's webhook does, without one.

A MutatingAdmissionPolicy of Kubernetes' own, so that no request waits for brim and none fails where brim is away. The
rule is that of `shared.units.asks_for_eci`, written in CEL.
"""

from __future__ import annotations

from typing import Final

from services.executor.core.live import mapping
from shared import units
from shared.contracts.annotations import MANAGED_LABEL
from shared.contracts.base import JsonObject
from shared.contracts.refs import ObjectRef

GROUP: Final = "admissionregistration.k8s.io"
VERSIONS: Final = ("v1", "v1beta1")  # the newest that a member serves
POLICY: Final = "MutatingAdmissionPolicy"
BINDING: Final = "MutatingAdmissionPolicyBinding"
NAME: Final = "brim-eci"

_LABEL, _YES = units.ECI_LABEL
_ON_POD = f"has(object.metadata.labels) && '{_LABEL}' in object.metadata.labels"
_ON_NAMESPACE = f"has(namespaceObject.metadata.labels) && '{_LABEL}' in namespaceObject.metadata.labels"

# A pod that has a node already, or belongs to one as DaemonSets' do, is left alone.
CONDITIONS: Final = (
    ("has-no-node", "!has(object.spec.nodeName) || object.spec.nodeName == ''"),
    (
        "is-of-no-daemonset",
        "!has(object.metadata.ownerReferences) || "
        "!object.metadata.ownerReferences.exists(owner, owner.kind == 'DaemonSet')",
    ),
)
ASKS: Final = (
    f"{_ON_POD} ? object.metadata.labels['{_LABEL}'] == '{_YES}' : "
    f"{_ON_NAMESPACE} && namespaceObject.metadata.labels['{_LABEL}'] == '{_YES}'"
)
# The wish stands on the pod from here on: whoever schedules it may not know its namespace's labels yet.
_MARKED = f"metadata: Object.metadata{{labels: {{'{_LABEL}': '{_YES}'}}}}"
_SENT = f"spec: Object.spec{{schedulerName: '{units.DEFAULT_SCHEDULER}'}}"
MUTATION: Final = (
    "!variables.asks ? Object{} : "
    "has(object.spec.schedulerName) && !(object.spec.schedulerName in ['', 'default-scheduler']) "
    f"? Object{{{_MARKED}}} : Object{{{_MARKED}, {_SENT}}}"
)


def policy(version: str) -> JsonObject:
    """failurePolicy Ignore: a fault of the policy's must not keep any pod out."""
    return {
        **_head(POLICY, version),
        "spec": {
            "failurePolicy": "Ignore",
            "reinvocationPolicy": "IfNeeded",
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                ]
            },
            "matchConditions": [{"name": name, "expression": expression} for name, expression in CONDITIONS],
            "variables": [{"name": "asks", "expression": ASKS}],
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": MUTATION}}],
        },
    }


def binding(version: str) -> JsonObject:
    """What puts the policy in force, for all namespaces."""
    return {**_head(BINDING, version), "spec": {"policyName": NAME}}


def _head(kind: str, version: str) -> JsonObject:
    return {
        "apiVersion": f"{GROUP}/{version}",
        "kind": kind,
        "metadata": {"name": NAME, "labels": {MANAGED_LABEL: "true"}},
    }


def ref(kind: str, version: str) -> ObjectRef:
    return ObjectRef(group=GROUP, version=version, kind=kind, name=NAME)


def is_own(live: JsonObject) -> bool:
    """Whether brim made it: of somebody else's that has the name nothing is changed."""
    return mapping(mapping(live.get("metadata")).get("labels")).get(MANAGED_LABEL) == "true"


def not_served(member: str) -> str:
    """What a person can do in a member without that API."""
    return (
        f"member {member} serves no {POLICY}, as Kubernetes does from 1.36 on: label {_LABEL}={_YES} does nothing for "
        f"pods that name no scheduler of brim's; upgrade it, let pods name {units.DEFAULT_SCHEDULER}, or install the "
        "cloud's own webhook and take eciLabel away"
    )
