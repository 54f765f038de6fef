"""pyproject.toml, requirements.lock and environment.yml say the same."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def locked(file):
    lines = (ROOT / file).read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def required(*extras):
    texts = [*PROJECT["dependencies"], *(one for extra in extras for one in EXTRAS[extra])]
    return [Requirement(text) for text in texts]


LOCK, DOCS_LOCK, GPU_LOCK = (locked(f"requirements{kind}.lock") for kind in ("", "-docs", "-gpu"))


@pytest.mark.parametrize("requirement", required("dev"), ids=str)
def test_lock_satisfies_every_requirement(requirement):
    assert LOCK[canonicalize_name(requirement.name)] in requirement.specifier


def test_lock_of_the_documentation_satisfies_its_extra_and_repeats_nothing():
    for requirement in map(Requirement, EXTRAS["docs"]):
        assert DOCS_LOCK[canonicalize_name(requirement.name)] in requirement.specifier
    assert not LOCK.keys() & DOCS_LOCK.keys()


@pytest.mark.parametrize("requirement", required("dev", "vllm", "gpu", "train"), ids=str)
def test_lock_for_gpus_satisfies_every_requirement(requirement):
    assert GPU_LOCK[canonicalize_name(requirement.name)] in requirement.specifier


def test_lock_for_gpus_moves_only_what_vllm_moves():
    moved = {name for name, version in LOCK.items() if GPU_LOCK.get(name) != version}
    assert moved <= {"lark", "numpy", "overrides", "setuptools"}


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_extras_can_be_installed(python, tmp_path):
    uv = shutil.which(
        "uv", path=os.pathsep.join([os.environ["PATH"], str(Path(sys.executable).parent)])
    )
    if uv is None:
        pytest.skip("uv resolves them: pip install uv")
    command = [uv, "pip", "compile", "-q", "--python-version", python, "pyproject.toml"]
    command += ["--python-platform", "x86_64-manylinux_2_28", "-o", str(tmp_path / "lock")]
    command += [part for extra in ("vllm", "gpu", "train") for part in ("--extra", extra)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if re.search(r"Failed to fetch|error sending request|dns error", done.stderr):
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    assert "vllm==" in (tmp_path / "lock").read_text()


def test_lock_holds_plain_versions_only():
    versions = [*LOCK.values(), *DOCS_LOCK.values()]
    assert all(re.fullmatch(r"\d+(\.\w+)*", version) for version in versions)


def test_lock_has_no_gpu_packages():
    assert not [name for name in LOCK if name.startswith(("nvidia", "vllm", "triton"))]


def test_lock_has_every_package_that_a_locked_one_needs():
    for name, version in LOCK.items():
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if distribution.version.split("+")[0] != version:
            continue
        for text in distribution.requires or []:
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                assert canonicalize_name(need.name) in LOCK or need.name.startswith(
                    ("nvidia", "triton", "cuda")
                ), f"{name} needs {need}"


def test_environment_brings_the_python_of_pyproject_and_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == PROJECT["name"]
    *conda, pip = environment["dependencies"]
    assert conda == [f"python{PROJECT['requires-python']}", "pip"]
    assert pip == {"pip": ["-r requirements.lock", "-e ."]}


def test_vllm_extra_is_the_newest_that_goes_with_the_lock():
    (vllm,) = (Requirement(text) for text in PROJECT["optional-dependencies"]["vllm"])
    assert "0.31.0" in vllm.specifier
    assert "0.33.0" not in vllm.specifier
    assert LOCK["torch"].startswith("2.13.")


def test_every_imported_package_is_required():
    """A package that is there only because another one needs it can go without notice."""
    distributions = metadata.packages_distributions()
    needed = {canonicalize_name(requirement.name) for requirement in required("dev")}
    extras = [text for group in EXTRAS.values() for text in group]
    optional = {canonicalize_name(Requirement(text).name) for text in extras}
    missing = set()
    for path in (ROOT / "qponder_lib").rglob("*.py"):
        for top in re.findall(r"(?m)^\s*(?:from|import) (\w+)", path.read_text(encoding="utf-8")):
            names = {canonicalize_name(name) for name in distributions.get(top, [])}
            if names and not names & (needed | optional | {"qponder"}):
                missing.add((path.name, top))
    assert not missing
