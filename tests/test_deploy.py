"""The files for a Kubernetes cluster: linted, and true to the package and its command line."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from copy import deepcopy
from pathlib import Path

import click
import pytest
import yaml
from packaging.requirements import Requirement

from batchage.command.app import CALLS
from batchage.command.app import program as whole
from batchage.command.settings import gather
from batchage.options import build
from batchage.places import is_url
from batchage.version import __version__
from tests.command import ROOT

DEPLOY = ROOT / "deploy"
NAMES = ["rayjob.yaml", "rayjob-gpu.yaml"]
YAML_RULES = "{extends: default, rules: {line-length: {max: 100}}}"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ARGUMENTS = dict(re.findall(r"^ARG (\w+)=(.+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE))

# The fields of KubeRay's API reference that these files use, and their types.
JOB = {
    "entrypoint": str,
    "backoffLimit": int,
    "shutdownAfterJobFinishes": bool,
    "rayClusterSpec": dict,
}
CLUSTER = {"rayVersion": str, "authOptions": dict, "headGroupSpec": dict, "workerGroupSpecs": list}
HEAD = {"rayStartParams": dict, "template": dict}
WORKERS = HEAD | {"groupName": str, "replicas": int, "minReplicas": int, "maxReplicas": int}


@pytest.fixture(params=NAMES)
def job(request):
    return yaml.safe_load((DEPLOY / request.param).read_text(encoding="utf-8"))


def lint(name, *arguments):
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    linter = shutil.which(name, path=places)
    if linter is None:
        pytest.skip(f"{name} is not installed: pip install -e '.[dev]'")
    result = subprocess.run(
        [linter, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def groups(job):
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def container(group):
    (only,) = group["template"]["spec"]["containers"]
    return only


def test_dockerfile_passes_its_linter():
    lint("hadolint", DEPLOY / "Dockerfile")


@pytest.mark.parametrize("name", NAMES)
def test_jobs_pass_their_linter(name):
    lint("yamllint", "--strict", "-d", YAML_RULES, DEPLOY / name)


def test_pods_are_what_kubernetes_knows(job):
    kubernetes_validate = pytest.importorskip("kubernetes_validate")

    def check(template):
        pods = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pods"}}
        newest = kubernetes_validate.latest_version()
        kubernetes_validate.validate(pods | {"template": template}, newest, strict=True)

    for group in groups(job):
        check(group["template"])
        wrong = deepcopy(group["template"])
        container(group | {"template": wrong})["resource"] = {}
        with pytest.raises(kubernetes_validate.ValidationError):
            check(wrong)


def test_jobs_have_the_fields_of_kuberay(job):
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    head, workers = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    fields = [(spec, JOB), (cluster, CLUSTER), (head, HEAD), *((one, WORKERS) for one in workers)]
    for found, known in fields:
        assert {name: type(value) for name, value in found.items()} == known
    for group in groups(job):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    assert spec["shutdownAfterJobFinishes"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert head["rayStartParams"]["num-cpus"] == "0"
    for one in workers:
        # The engine shares out what is there when it begins.
        assert one["minReplicas"] == one["replicas"] == one["maxReplicas"]


def test_pods_have_bounds_and_no_secrets(job):
    for group in groups(job):
        pod = container(group)
        assert pod["resources"]["limits"] == pod["resources"]["requests"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["env"] == [{"name": "RAY_USAGE_STATS_ENABLED", "value": "0"}]
        assert [list(source) for source in pod["envFrom"]] == [["secretRef"]]


def test_gpus_are_asked_for_where_they_are_used():
    for name, n_gpus in zip(NAMES, [None, "1"], strict=True):
        job = yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))
        assert ("--gpus-per-actor" in job["spec"]["entrypoint"]) == (n_gpus is not None)
        for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
            assert container(group)["resources"]["limits"].get("nvidia.com/gpu") == n_gpus


def test_the_command_is_one_of_this_version(job):
    shell, option, script = shlex.split(job["spec"]["entrypoint"])
    assert (shell, option) == ("bash", "-c")
    program, command, *arguments = shlex.split(script.partition(" || ")[0])
    assert (program, command) == ("batchage", "scan")
    scan = whole.get_command(click.Context(whole), "scan")
    given = scan.make_context("scan", arguments).params
    flags = {name.replace("_", "-"): value for name, value in given.items()}
    assert all(is_url(place) for place in [*flags["inputs"], flags["output"]])
    values = gather("scan", CALLS, {**flags, "output": "r.parquet"}, {}, None)
    config = build(CALLS["scan"], values).config
    assert (config.engine, config.ray.address) == ("ray", "auto")


def as_submitted(entrypoint):
    """What Ray's job server is given by KubeRay's submitter, a shell that runs `ray job submit`."""
    words = subprocess.run(
        ["bash", "-ce", f"if true ; then printf '%s\\0' {entrypoint} ; fi"],
        capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    return shlex.join(words[:-1])


@pytest.mark.parametrize("pass_on", [str, as_submitted])
@pytest.mark.parametrize(("exit_code", "fails"), [(0, False), (1, True), (2, True), (3, False)])
def test_unreadable_files_are_no_failure(job, tmp_path, pass_on, exit_code, fails):
    program = tmp_path / "batchage"
    program.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/arguments"\nexit {exit_code}\n')
    program.chmod(0o755)
    result = subprocess.run(
        pass_on(job["spec"]["entrypoint"]), shell=True, check=False,
        env={"PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]])},
    )  # fmt: skip
    assert (result.returncode != 0) == fails
    assert (tmp_path / "arguments").read_text().startswith("scan s3://bucket/photos -o s3://")


def test_versions_are_those_of_the_package(job):
    tags = {container(group)["image"].rpartition(":")[2] for group in groups(job)}
    assert tags <= {__version__, f"{__version__}-gpu"}, "the tag of the image is another version"
    assert f"batchage:{__version__} " in (DEPLOY / "README.md").read_text(encoding="utf-8")
    version = job["spec"]["rayClusterSpec"]["rayVersion"]
    assert version == ARGUMENTS["RAY"]
    (ray,) = map(Requirement, PROJECT["optional-dependencies"]["ray"])
    assert version in ray.specifier


def test_extras_are_there():
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    asked = [ARGUMENTS["EXTRAS"], *re.findall(r"EXTRAS=([\w,]+)", readme)]
    assert len(asked) > 1
    for extras in asked:
        assert {"ray", *extras.split(",")} <= set(PROJECT["optional-dependencies"])


def test_the_image_is_built_of_the_package_alone():
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert ignored[0] == "*"
    kept = {line[1:] for line in ignored if line.startswith("!")}
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    wheel = tools["hatch"]["build"]["targets"]["wheel"]
    folders = {*wheel["packages"], *wheel["force-include"], *PROJECT["license-files"]}
    assert kept == {"pyproject.toml", PROJECT["readme"], *folders}
