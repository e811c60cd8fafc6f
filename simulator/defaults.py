"""The values that Kubernetes' API server fills in where a manifest leaves them out.

`fill` changes the object it is given: hand it one that nobody else holds.
"""

from __future__ import annotations

import base64
import hashlib

from simulator.objects import Object
from simulator.resources import Resource

_SERVICE_NET = "10.96"
UNREACHABLE = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def fill(resource: Resource, obj: Object) -> None:
    """Defaults by kind. Custom resources and plain data kinds have none."""
    filler = _FILLERS.get(resource.kind)
    if filler is not None and not resource.custom:
        filler(obj)


def _deployment(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    _template(spec)


def _replicaset(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    _template(spec)


def _statefulset(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    _template(spec)


def _daemonset(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
        if obj.get("apiVersion") == "apps.kruise.io/v1alpha1":
            rolling.setdefault("rollingUpdateType", "Standard")
            rolling.setdefault("partition", 0)
            rolling.setdefault("paused", False)
    _template(spec)


def _cloneset(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("scaleStrategy", {})
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "ReCreate")
    strategy.setdefault("partition", 0)
    strategy.setdefault("maxUnavailable", "20%")
    strategy.setdefault("maxSurge", 0)
    _template(spec)


def _job(obj: Object) -> None:
    job_spec(obj.setdefault("spec", {}))


def job_spec(spec: Object) -> None:
    """Defaults of batch/v1 JobSpec, but for the selector, which needs the Job's uid (`allocate`)."""
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    _template(spec)


def allocate(resource: Resource, obj: Object) -> None:
    """What only the server can know, and no field manager owns: a Job's selector, a Service's address."""
    if resource.custom:
        return
    if resource.kind == "Job":
        _job_selector(obj)
    elif resource.kind == "Service":
        _service_address(obj)


def keep_allocated(resource: Resource, live: Object, new: Object) -> None:
    """An update keeps what it leaves out and the server gave: a Service's address, a pod's priority."""
    if resource.kind not in ("Service", "Pod") or resource.custom:
        return
    spec, old = new.setdefault("spec", {}), live.get("spec") or {}
    if resource.kind == "Pod":
        for key in ("priority", "preemptionPolicy"):
            if key in old:
                spec.setdefault(key, old[key])
        return
    if spec.get("type", "ClusterIP") != "ExternalName" and not spec.get("clusterIP"):
        for key in ("clusterIP", "clusterIPs"):
            if key in old:
                spec[key] = old[key]


def _job_selector(obj: Object) -> None:
    """A Job without manualSelector selects its pods by its own uid."""
    spec, uid = obj["spec"], obj["metadata"]["uid"]
    if spec.get("manualSelector") or spec.get("selector"):
        return
    name = obj["metadata"]["name"]
    template = spec["template"].setdefault("metadata", {})
    template.setdefault("labels", {}).update(
        {
            "batch.kubernetes.io/controller-uid": uid,
            "batch.kubernetes.io/job-name": name,
            "controller-uid": uid,
            "job-name": name,
        }
    )
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}


def _cronjob(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)


def _template(spec: Object) -> None:
    template = spec.get("template")
    if isinstance(template, dict):
        metadata = template.setdefault("metadata", {})
        for key in ("labels", "annotations"):
            if not metadata.get(key):
                metadata.pop(key, None)  # none of them is none, however it is written: the template is the same
        pod_spec(template.setdefault("spec", {}))


def _pod(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    pod_spec(spec)
    finish_pod(obj)


def finish_pod(pod: Object) -> None:
    """What admission adds to a pod, whoever creates it: service account, links, the five-minute tolerations."""
    spec = pod["spec"]
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("serviceAccount", spec["serviceAccountName"])
    spec.setdefault("enableServiceLinks", True)
    tolerations = list(spec.get("tolerations") or ())
    for key in UNREACHABLE:
        if not any(_tolerates_eviction(toleration, key) for toleration in tolerations):
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
    spec["tolerations"] = tolerations


def _tolerates_eviction(toleration: Object, key: str) -> bool:
    return toleration.get("key") in (key, None, "") and toleration.get("effect") in ("NoExecute", None, "")


def pod_spec(spec: Object) -> None:
    """Defaults of a pod's or a template's spec."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    if "serviceAccountName" in spec:
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        if isinstance(container, dict):
            _container(container)


def _container(container: Object) -> None:
    image = str(container.get("image", ""))
    latest = ":" not in image.rpartition("/")[2] or image.endswith(":latest")
    container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    resources = container.setdefault("resources", {})
    if resources.get("limits"):
        resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in container:
            _probe(container[probe])


def _probe(probe: Object) -> None:
    probe.setdefault("timeoutSeconds", 1)
    probe.setdefault("periodSeconds", 10)
    probe.setdefault("successThreshold", 1)
    probe.setdefault("failureThreshold", 3)
    if "httpGet" in probe:
        probe["httpGet"].setdefault("scheme", "HTTP")
        probe["httpGet"].setdefault("path", "/")


def _service(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["type"] == "ExternalName":
        return
    spec.setdefault("internalTrafficPolicy", "Cluster")
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))


def _service_address(obj: Object) -> None:
    spec, metadata = obj["spec"], obj["metadata"]
    if spec["type"] == "ExternalName":
        return
    if not spec.get("clusterIP"):
        digest = hashlib.sha256(f"{metadata.get('namespace')}/{metadata['name']}".encode()).digest()
        spec["clusterIP"] = f"{_SERVICE_NET}.{digest[0]}.{digest[1] or 1}"
    spec.setdefault("clusterIPs", [spec["clusterIP"]])


def _namespace(obj: Object) -> None:
    obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    obj.setdefault("status", {}).setdefault("phase", "Active")
    labels = obj["metadata"].setdefault("labels", {})
    labels.setdefault("kubernetes.io/metadata.name", obj["metadata"]["name"])


def _priority_class(obj: Object) -> None:
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _secret(obj: Object) -> None:
    obj.setdefault("type", "Opaque")
    given = obj.pop("stringData", None)
    if given:  # written for people's convenience, never read back
        encoded = {key: base64.b64encode(str(text).encode()).decode() for key, text in given.items()}
        obj["data"] = {**(obj.get("data") or {}), **encoded}


def _claim(obj: Object) -> None:
    obj.setdefault("status", {}).setdefault("phase", "Pending")
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


_FILLERS = {
    "Deployment": _deployment,
    "ReplicaSet": _replicaset,
    "StatefulSet": _statefulset,
    "DaemonSet": _daemonset,
    "CloneSet": _cloneset,
    "Job": _job,
    "CronJob": _cronjob,
    "Pod": _pod,
    "Service": _service,
    "Namespace": _namespace,
    "PriorityClass": _priority_class,
    "Secret": _secret,
    "PersistentVolumeClaim": _claim,
}
