"""The Kubernetes manifests: valid by the schemas of the API, and in agreement with the server."""

import base64
import re
import subprocess
from collections.abc import Iterable, Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml
from live import REPOSITORY
from servers import programs

from adserver import settings
from adserver.domain import limits

HOME = REPOSITORY / "deploy" / "kubernetes"
VERSIONS = ("1.31", "1.37")
Resource = dict[str, Any]


def documents() -> Iterator[Resource]:
    for path in sorted(HOME.glob("base/*.yaml")):
        if path.name != "kustomization.yaml":
            yield from yaml.safe_load_all(path.read_text())


def made(folder: str) -> list[Resource]:
    command = [programs.kubectl(), "kustomize", HOME / folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr.lower()
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def rendered() -> list[Resource]:
    return made("example")


@pytest.fixture(scope="module")
def several() -> list[Resource]:
    return made("example-several")


def one(resources: Iterable[Resource], kind: str, name: str = "adserver") -> Resource:
    """``name``: less the digest that kustomize puts behind a ConfigMap's."""
    named = re.compile(rf"{name}(-[a-z0-9]{{10}})?")
    [found] = [
        each for each in resources if each["kind"] == kind and named.fullmatch(each["metadata"]["name"])
    ]
    return found


@pytest.fixture
def container() -> Resource:
    pod = one(documents(), "StatefulSet")["spec"]["template"]["spec"]
    [found] = pod["containers"]
    return found  # type: ignore[no-any-return]


ONE = {"Namespace", "ConfigMap", "Service", "StatefulSet", "PodDisruptionBudget", "NetworkPolicy"}


@pytest.mark.parametrize("version", VERSIONS)
def test_what_kustomize_makes_of_them_is_valid(
    rendered: list[Resource], several: list[Resource], version: str
) -> None:
    assert {each["kind"] for each in rendered} == ONE
    assert {each["kind"] for each in several} == ONE | {"Secret", "HorizontalPodAutoscaler"}
    for resource in (*rendered, *several):
        kubernetes_validate.validate(resource, version, strict=True)


def test_a_misspelt_field_is_seen(rendered: list[Resource]) -> None:
    service = one(rendered, "Service")
    wrong = {**service, "spec": {**service["spec"], "clusterIp": "None"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_everybody_speaks_of_the_same_pods(rendered: list[Resource]) -> None:
    served = one(rendered, "StatefulSet")["spec"]
    labels = served["template"]["metadata"]["labels"]
    assert labels
    selecting = [
        served["selector"]["matchLabels"],
        one(rendered, "Service", "adserver-pods")["spec"]["selector"],
        one(rendered, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(rendered, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    assert selecting == [labels] * 4
    assert served["serviceName"] == "adserver-pods"


def test_what_the_example_changes_is_changed(rendered: list[Resource], container: Resource) -> None:
    served = one(rendered, "StatefulSet")["spec"]
    [pod] = served["template"]["spec"]["containers"]
    [claim] = served["volumeClaimTemplates"]
    assert pod["image"].partition(":")[0] != container["image"]
    assert claim["spec"]["storageClassName"] == "fast"
    assert pod["envFrom"][0]["configMapRef"]["name"] == one(rendered, "ConfigMap")["metadata"]["name"]


def test_the_server_understands_its_settings(rendered: list[Resource]) -> None:
    read = settings.load({}, one(rendered, "ConfigMap")["data"])
    assert read.public_url == "https://ads.example"
    assert read.trusted_proxies == ("10.0.0.0/8",)


def test_there_is_one_where_its_books_are_its_own() -> None:
    served = one(documents(), "StatefulSet")["spec"]
    assert served["replicas"] == 1
    assert served["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert one(documents(), "PodDisruptionBudget")["spec"]["maxUnavailable"] == 0


def test_it_may_do_nothing_but_serve(container: Resource) -> None:
    pod = one(documents(), "StatefulSet")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    held = container["securityContext"]
    assert held["readOnlyRootFilesystem"] and not held["allowPrivilegeEscalation"]
    assert held["capabilities"] == {"drop": ["ALL"]}


def test_its_end_is_waited_for(container: Resource) -> None:
    pod = one(documents(), "StatefulSet")["spec"]["template"]["spec"]
    *_, code = container["lifecycle"]["preStop"]["exec"]["command"]
    pause_s = int(code.removeprefix("import time; time.sleep(").removesuffix(")"))
    assert pod["terminationGracePeriodSeconds"] >= pause_s + limits.END_S + limits.GRACEFUL_S


def test_probes_ask_what_the_server_answers(container: Resource) -> None:
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] == "/readyz"
    live = container["livenessProbe"]
    # Never sooner than what passes by itself.
    assert live["periodSeconds"] * live["failureThreshold"] >= 60


# -- several -----------------------------------------------------------------------------------------


def pod_of(resources: list[Resource]) -> Resource:
    found: Resource = one(resources, "StatefulSet")["spec"]["template"]["spec"]
    return found


def test_several_share_stores_and_find_each_other(several: list[Resource]) -> None:
    [container] = pod_of(several)["containers"]
    secret = one(several, "Secret")
    assert container["envFrom"][1]["secretRef"]["name"] == secret["metadata"]["name"]
    given = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    given |= {each["name"]: each["value"] for each in container["env"] if "value" in each}
    pod, service = "adserver-1", one(several, "Service", "adserver-pods")["metadata"]["name"]
    read = settings.load({}, {name: value.replace("$(POD_NAME)", pod) for name, value in given.items()})
    assert read.database and read.redis
    host, _, port = read.errands.partition(":")
    assert host == f"{pod}.{service}"
    assert {"name": "errands", "containerPort": int(port)} in container["ports"]


def test_as_many_as_the_processor_asks_for(several: list[Resource]) -> None:
    scaler = one(several, "HorizontalPodAutoscaler")["spec"]
    served = one(several, "StatefulSet")
    assert scaler["scaleTargetRef"] == {
        "apiVersion": served["apiVersion"], "kind": "StatefulSet", "name": served["metadata"]["name"],
    }  # fmt: skip
    # Applied again, it would undo what the autoscaler has said since.
    assert "replicas" not in served["spec"]
    assert 2 <= scaler["minReplicas"] < scaler["maxReplicas"]
    # A pod keeps what its ads became of in its journal: an operator lets it go, nobody else.
    assert scaler["behavior"]["scaleDown"] == {"selectPolicy": "Disabled"}
    [container] = pod_of(several)["containers"]
    assert container["resources"]["requests"]["cpu"]
    assert one(several, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_several_may_ask_their_stores_and_nobody_else(several: list[Resource]) -> None:
    policy = one(several, "NetworkPolicy")["spec"]
    asked = {(port["protocol"], port["port"]) for rule in policy["egress"] for port in rule["ports"]}
    assert asked == {("TCP", "errands"), ("TCP", 5432), ("TCP", 6379), ("UDP", 53), ("TCP", 53)}
    [errands] = [rule for rule in policy["ingress"] if rule["ports"][0]["port"] == "errands"]
    assert errands["from"] == [{"podSelector": {"matchLabels": policy["podSelector"]["matchLabels"]}}]
