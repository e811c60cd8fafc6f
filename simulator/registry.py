"""What the API server does with a write: defaults, checks, owners, generations, then the store.

Synchronous and free of HTTP, so that each write is atomic. Raises ApiError for what it refuses.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field
from typing import Any

from shared.clock import Clock, rfc3339
from simulator import admission, defaults, managed_fields, patches, server_side_apply, statuses, validation
from simulator.kruise import admission as kruise
from simulator.kruise import validation as rollouts
from simulator.managed_fields import Manager
from simulator.objects import Object, deep, deleting, without_nulls
from simulator.resources import CONTAINER_GROUPS, Catalogue, Resource
from simulator.schema import schema_of
from simulator.statuses import ApiError
from simulator.store import Store
from simulator.versions import present, stored

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_COUNTED = frozenset(
    {
        "Deployment",
        "ReplicaSet",
        "StatefulSet",
        "DaemonSet",
        "CloneSet",
        "Rollout",
        "Job",
        "CronJob",
        "PodDisruptionBudget",
        "Ingress",
        "NetworkPolicy",
        "CustomResourceDefinition",
        "Pod",
        "ContainerGroup",
    }
)
_IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
_STATUS_ON_CREATE = frozenset({"Node", "Namespace", "PersistentVolumeClaim"})

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCHES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)


@dataclass(frozen=True, slots=True)
class Write:
    """How a request writes: who, through which subresource, for real or not."""

    manager: str = "unknown"
    subresource: str = ""
    dry_run: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class Deletion:
    """DeleteOptions. grace is in seconds; None means the object's own default."""

    propagation: str = "Background"
    grace: int | None = None
    uid: str = ""
    version: str = ""
    dry_run: bool = False


@dataclass
class Registry:
    """All writes of one member's API server."""

    store: Store
    catalogue: Catalogue
    clock: Clock
    random: random.Random = field(default_factory=random.Random)

    def suffix(self, length: int = 5) -> str:
        """The random end of a generated name."""
        return "".join(self.random.choices(_LETTERS, k=length))

    def get(self, resource: Resource, space: str, name: str) -> Object:
        obj = self.store.get(resource.shelf, space, name)
        if obj is None:
            raise statuses.not_found(resource, name)
        return obj

    # -- create

    def create(self, resource: Resource, space: str, body: Any, write: Write) -> Object:
        obj = stored(resource, self._accept(resource, space, body))
        self._require_namespace(resource, space)
        if not obj["metadata"].get("name") and (prefix := obj["metadata"].get("generateName")):
            obj["metadata"]["name"] = prefix + self.suffix()
        return self._insert(resource, space, obj, write)

    def _insert(self, resource: Resource, space: str, obj: Object, write: Write) -> Object:
        metadata = obj["metadata"]
        for key in ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "generation"):
            metadata.pop(key, None)
        name = metadata.get("name") or ""
        if resource is CONTAINER_GROUPS:
            raise statuses.forbidden(resource, name, "instances are made by the virtual kubelet, for its pods")
        if self.store.get(resource.shelf, space, name) is not None:
            raise statuses.already_exists(resource, name)
        if resource.status and resource.kind not in _STATUS_ON_CREATE:
            obj.pop("status", None)
        if found := validation.faults(resource, self._defaulted(resource, obj)):
            raise statuses.invalid(resource, name, found)
        rollouts.validate(self.store, resource, obj)
        if resource.kind == "Pod":
            admission.admit(self.store, obj)
            obj["status"] = {"phase": "Pending", "qosClass": qos_class(obj)}
        if resource.kind in _COUNTED or (resource.custom and "spec" in obj):
            metadata["generation"] = 1
        metadata["uid"] = _uid(self.random)
        metadata["creationTimestamp"] = rfc3339(self.clock.now())
        if "managedFields" not in metadata:
            obj = self._owned(resource, None, obj, write)
        defaults.allocate(resource, obj)
        if write.dry_run:
            return obj
        return self.store.create(resource.shelf, obj)

    def _defaulted(self, resource: Resource, obj: Object) -> Object:
        try:
            defaults.fill(resource, obj)
        except (AttributeError, TypeError, KeyError) as error:
            raise statuses.bad_request(
                f"{resource.kind} in version {resource.version!r} cannot be handled as a {resource.kind}: "
                f"a field has the wrong type ({error})"
            ) from error
        return obj

    def _accept(self, resource: Resource, space: str, body: Any) -> Object:
        """The request's object with its kind and namespace checked and filled in."""
        if not isinstance(body, dict) or not isinstance(body.get("metadata", {}), dict):
            raise statuses.bad_request("the object provided is unrecognized (must be of type Object)")
        kind, version = body.get("kind", resource.kind), body.get("apiVersion", resource.group_version)
        if kind != resource.kind or version != resource.group_version:
            raise statuses.bad_request(
                f"the API version in the data ({version}, Kind={kind}) does not match the expected API "
                f"version ({resource.group_version}, Kind={resource.kind})"
            )
        obj: Object = {**(deep(body) if resource.custom else without_nulls(body)), "apiVersion": version, "kind": kind}
        metadata = obj["metadata"] = without_nulls(body.get("metadata") or {})
        given = metadata.get("namespace")
        if resource.namespaced:
            if given and given != space:
                raise statuses.bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            metadata["namespace"] = space
        else:
            metadata.pop("namespace", None)
        return obj

    def _require_namespace(self, resource: Resource, space: str) -> None:
        if not resource.namespaced:
            return
        found = self.store.get("namespaces", "", space)
        if found is None:
            namespaces = self.catalogue.find("", "v1", "namespaces")
            assert namespaces is not None
            raise statuses.not_found(namespaces, space)
        if deleting(found):
            raise statuses.terminating(resource, "", space)

    # -- update

    def replace(self, resource: Resource, space: str, name: str, body: Any, write: Write) -> Object:
        new = stored(resource, self._accept(resource, space, body))
        if new["metadata"].setdefault("name", name) != name:
            raise statuses.bad_request(
                f"the name of the object ({new['metadata']['name']}) does not match the name on the URL ({name})"
            )
        live = self.get(resource, space, name)
        return self.write(resource, live, new, write)

    def write(self, resource: Resource, live: Object, new: Object, write: Write) -> Object:
        """Store `new` (held by nobody else) in place of `live`. Raises ApiError 409 and 422."""
        name, metadata, old = live["metadata"]["name"], new["metadata"], live["metadata"]
        given = metadata.get("resourceVersion")
        if given and given != old["resourceVersion"]:
            raise statuses.modified(resource, name)
        if (uid := metadata.get("uid")) and uid != old["uid"]:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old['uid']}"
            raise statuses.conflict(resource, name, why)
        new = self._merge_server_side(resource, live, new, write)
        if "managedFields" not in metadata and "managedFields" in old:
            new["metadata"]["managedFields"] = old["managedFields"]
        new = self._settle(resource, live, new, write.subresource)
        if new == live:
            return live
        new = self._owned(resource, live, new, write)
        if write.dry_run:
            return new
        return self.store.update(resource.shelf, new)

    def _merge_server_side(self, resource: Resource, live: Object, new: Object, write: Write) -> Object:
        """What this endpoint may not touch stays as it is."""
        if write.subresource == "status":
            keeps_metadata = resource.kind not in ("Pod", "Node")
            metadata = dict(live["metadata"]) if keeps_metadata else dict(new["metadata"])
            if "managedFields" in new["metadata"]:
                metadata["managedFields"] = new["metadata"]["managedFields"]
            status = {"status": new["status"]} if "status" in new else {}
            rest = {k: v for k, v in live.items() if k not in ("status", "metadata")}
            new = {**rest, "metadata": metadata, **status}
        elif resource.status:
            new = {key: value for key, value in new.items() if key != "status"}
            if "status" in live:
                new["status"] = live["status"]
        for key in (*_KEPT, "resourceVersion", "generateName"):
            new["metadata"].pop(key, None)
            if key in live["metadata"]:
                new["metadata"][key] = live["metadata"][key]
        return new

    def _settle(self, resource: Resource, live: Object, new: Object, subresource: str) -> Object:
        """Defaults, checks and the generation of an object about to replace `live`."""
        if subresource == "status":
            return new
        defaults.keep_allocated(resource, live, new)
        kruise.admit(self.store, resource.shelf, live, new)
        found = validation.faults(resource, self._defaulted(resource, new))
        found += validation.change_faults(resource, new, live)
        if found:
            raise statuses.invalid(resource, live["metadata"]["name"], found)
        rollouts.validate(self.store, resource, new, live)
        if "generation" in live["metadata"] and _specified(resource, new) != _specified(resource, live):
            new["metadata"]["generation"] = live["metadata"]["generation"] + 1
        return new

    def _owned(self, resource: Resource, live: Object | None, new: Object, write: Write) -> Object:
        manager = Manager(write.manager, "Update", resource.group_version, write.subresource)
        return managed_fields.after_update(live, new, manager, schema_of(resource), self.clock.now())

    # -- patch

    def patch(
        self, resource: Resource, space: str, name: str, patch: Any, kind: str, write: Write
    ) -> tuple[Object, bool]:
        """The patched object, and whether server-side apply created it."""
        if kind == APPLY_PATCH:
            return self._apply(resource, space, name, patch, write)
        live = self.get(resource, space, name)
        shown = present(resource, live)
        new = self._accept(resource, space, patched(resource, shown, patch, kind))
        _same(resource, live, new)
        return self.write(resource, live, stored(resource, new), write), False

    def _apply(self, resource: Resource, space: str, name: str, body: Any, write: Write) -> tuple[Object, bool]:
        wanted = stored(resource, self._accept(resource, space, body))
        if not write.manager:
            raise statuses.bad_request("PatchOptions.meta.k8s.io is invalid: fieldManager: Required value")
        if "managedFields" in wanted["metadata"] and wanted["metadata"]["managedFields"]:
            raise statuses.bad_request("metadata.managedFields must be nil")
        if wanted["metadata"].setdefault("name", name) != name:
            raise statuses.bad_request("the name of the object does not match the name on the URL")
        if resource.status and not write.subresource:
            wanted.pop("status", None)
        live = self.store.get(resource.shelf, space, name)
        if live is None and write.subresource:
            raise statuses.not_found(resource, name)
        if live is None and wanted["metadata"].get("uid"):
            uid = wanted["metadata"]["uid"]
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise statuses.conflict(resource, name, why)
        manager = Manager(write.manager, "Apply", resource.group_version, write.subresource)
        version = wanted["metadata"].pop("resourceVersion", None)
        if live is not None and version and version != live["metadata"]["resourceVersion"]:
            raise statuses.modified(resource, name)
        if live is not None:
            _same(resource, live, wanted)
        new = server_side_apply.apply(
            live, wanted, manager, schema_of(resource), force=write.force, now=self.clock.now()
        )
        if live is None:
            self._require_namespace(resource, space)
            return self._insert(resource, space, deep(new), write), True
        return self._write_applied(resource, live, deep(new), write), False

    def _write_applied(self, resource: Resource, live: Object, new: Object, write: Write) -> Object:
        entries = new["metadata"].get("managedFields")
        new = self._merge_server_side(resource, live, new, write)
        if entries:
            new["metadata"]["managedFields"] = entries
        new = self._settle(resource, live, new, write.subresource)
        if new == live:
            return live
        return new if write.dry_run else self.store.update(resource.shelf, new)

    # -- delete

    def delete(self, resource: Resource, space: str, name: str, options: Deletion) -> tuple[Object, bool]:
        """The object as it was or now is, and whether it is gone."""
        live = self.get(resource, space, name)
        if resource.kind == "Namespace" and name in _IMMORTAL:
            raise statuses.forbidden(resource, name, "this namespace may not be deleted")
        metadata = live["metadata"]
        if options.uid and options.uid != metadata["uid"]:
            why = f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {metadata['uid']}"
            raise statuses.conflict(resource, name, why)
        if options.version and options.version != metadata["resourceVersion"]:
            raise statuses.conflict(
                resource,
                name,
                f"Precondition failed: ResourceVersion in precondition: {options.version}, "
                f"ResourceVersion in object meta: {metadata['resourceVersion']}",
            )
        marked = self._marked(resource, live, options)
        if options.dry_run:
            return marked, False
        updated = self.store.update(resource.shelf, marked)
        return updated, self.store.get(resource.shelf, space, name) is None

    def _marked(self, resource: Resource, live: Object, options: Deletion) -> Object:
        """The object with its deletion written into its metadata."""
        metadata = dict(live["metadata"])
        finalizers = list(metadata.get("finalizers") or ())
        if not deleting(live):
            wanted = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(options.propagation)
            if wanted and wanted not in finalizers:
                finalizers.append(wanted)
        if finalizers:
            metadata["finalizers"] = finalizers
        grace = self._grace(resource, live, options)
        if not deleting(live):
            metadata["deletionTimestamp"] = rfc3339(self.clock.now() + grace)
            metadata["deletionGracePeriodSeconds"] = grace
            if "generation" in metadata:
                metadata["generation"] += 1
        elif grace < metadata.get("deletionGracePeriodSeconds", 0):
            metadata["deletionGracePeriodSeconds"] = grace
            metadata["deletionTimestamp"] = rfc3339(self.clock.now() + grace)
        marked = {**live, "metadata": metadata}
        if resource.kind == "Namespace":
            marked["status"] = {**(live.get("status") or {}), "phase": "Terminating"}
        return marked

    def _grace(self, resource: Resource, live: Object, options: Deletion) -> int:
        """Only a pod that a kubelet runs is granted time."""
        if resource.kind != "Pod" or not live["spec"].get("nodeName"):
            return 0
        if (live.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return 0
        if options.grace is not None:
            return max(0, options.grace)
        return int(live["spec"].get("terminationGracePeriodSeconds", 30))


def patched(resource: Resource, shown: Object, patch: Any, kind: str) -> Object:
    """The object after one of the three plain patch types."""
    try:
        if kind == JSON_PATCH:
            result = patches.json_patch(shown, patch)
        elif kind == MERGE_PATCH:
            result = patches.merge(shown, patch)
        elif kind == STRATEGIC_PATCH and resource.described:
            result = patches.strategic(shown, patch, schema_of(resource))
        else:
            supported = PATCHES if resource.described else (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
            raise statuses.unsupported_media(supported)
    except patches.OrderError as error:
        raise ApiError(500, "", str(error)) from error
    except patches.PatchError as error:
        told = f"the server rejected our request due to an error in our request: {error}"
        raise ApiError(422, "Invalid", told) from error
    if not isinstance(result, dict):
        raise statuses.bad_request("the patch leaves no object behind")
    return result


def _same(resource: Resource, live: Object, patched: Object) -> None:
    """Raises ApiError 422 where a patch names another object's uid. (Of a PUT that is a conflict.)"""
    uid = patched["metadata"].get("uid")
    if uid and uid != live["metadata"]["uid"]:
        raise statuses.invalid(resource, live["metadata"]["name"], [validation.another_uid(uid)])


def _specified(resource: Resource, obj: Object) -> Object:
    """The part of an object whose changes count as a new generation."""
    ignored = ("metadata", "status") if resource.status or not resource.custom else ("metadata",)
    return {key: value for key, value in obj.items() if key not in ignored}


def _uid(source: random.Random) -> str:
    return str(uuid.UUID(int=source.getrandbits(128), version=4))


def qos_class(pod: Object) -> str:
    """BestEffort, Burstable or Guaranteed, from requests and limits of cpu and memory."""
    requested = guaranteed = 0
    containers = pod["spec"].get("containers") or ()
    for container in containers:
        resources = container.get("resources") or {}
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        wanted = [kind for kind in ("cpu", "memory") if kind in requests or kind in limits]
        requested += bool(wanted)
        guaranteed += len(wanted) == 2 and all(requests.get(k) == limits.get(k) for k in wanted)
    if not requested:
        return "BestEffort"
    return "Guaranteed" if guaranteed == len(containers) else "Burstable"
