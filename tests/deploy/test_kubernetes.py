"""The Kubernetes manifests: valid by the schemas of the API, and in agreement with the server."""

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
from adserver.posting.clerk import PATIENCE_S

HOME = REPOSITORY / "deploy" / "kubernetes"
VERSIONS = ("1.31", "1.37")
Resource = dict[str, Any]


def documents() -> Iterator[Resource]:
    for path in sorted(HOME.glob("*/*.yaml")):
        if path.name != "kustomization.yaml":
            yield from yaml.safe_load_all(path.read_text())


@pytest.fixture(scope="module")
def rendered() -> list[Resource]:
    command = [programs.kubectl(), "kustomize", HOME / "example"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr.lower()
    return list(yaml.safe_load_all(done.stdout))


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


@pytest.mark.parametrize("version", VERSIONS)
def test_what_kustomize_makes_of_them_is_valid(rendered: list[Resource], version: str) -> None:
    assert {each["kind"] for each in rendered} == {
        "Namespace", "ConfigMap", "Service", "StatefulSet", "PodDisruptionBudget", "NetworkPolicy",
    }  # fmt: skip
    for resource in rendered:
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


def test_there_is_one_as_long_as_its_books_are_its_own() -> None:
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
    assert pod["terminationGracePeriodSeconds"] >= pause_s + limits.GRACEFUL_S + 2 * PATIENCE_S


def test_probes_ask_what_the_server_answers(container: Resource) -> None:
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] == "/readyz"
    live = container["livenessProbe"]
    # Never sooner than what passes by itself.
    assert live["periodSeconds"] * live["failureThreshold"] >= 60
