"""What a cluster file says of versions: one Ray and one Python everywhere, and the project's own wheel."""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestrator.upkeep.cluster_file import PINNED, TESTED_PYTHON, ClusterFile
from orchestrator.upkeep.findings import Finding

_TAG = re.compile(r"^(\d+\.\d+\.\d+)(?:-py(\d)(\d+))?")


def versions(file: ClusterFile) -> Iterator[Finding]:
    """Driver, head and workers must run the same Ray and the same Python, those that were tested."""
    wanted = file.tested.get("ray", "")
    seen = [(where, ray) for where, ray, _ in _images(file) if ray]
    seen += [("a setup command", version) for command in file.setup for version in PINNED.findall(command)]
    for where, version in dict.fromkeys(seen):
        if wanted and version != wanted:
            yield Finding(
                "versions",
                "failure",
                f"{where} has Ray {version}, the tested set has {wanted}",
                f"Ray {wanted} there (constraints.txt), on the machine that calls `ray up` too",
            )
    for where, _, python in _images(file):
        if python and python != TESTED_PYTHON:
            yield Finding(
                "versions",
                "failure",
                f"{where} has Python {python}, the tested set is for {TESTED_PYTHON}",
                f"an image with -py{TESTED_PYTHON.replace('.', '')} in its tag",
            )
    for python in sorted(set(re.findall(r"\bpython(3\.\d+) -m venv", "\n".join(file.setup))) - {TESTED_PYTHON}):
        yield Finding(
            "versions",
            "failure",
            f"a setup command makes an environment of Python {python}, the tested set is for {TESTED_PYTHON}",
            f"python{TESTED_PYTHON} -m venv",
        )
    different = {(ray, python) for _, ray, python in _images(file)}
    if len(different) > 1:
        shown = "; ".join(f"{where}: Ray {ray or '?'}, Python {python or '?'}" for where, ray, python in _images(file))
        yield Finding(
            "versions",
            "failure",
            f"the images differ: {shown}",
            "images of one Ray and one Python for head and workers",
        )


def unpinned_images(file: ClusterFile) -> Iterator[Finding]:
    """An image whose tag moves (`latest`, `nightly`, none) is another one on the next node."""
    for where, image in _image_names(file):
        tag = image.rpartition(":")[2] if ":" in image else ""
        if not tag or tag.startswith(("latest", "nightly")):
            ray = file.tested.get("ray", "VERSION")
            yield Finding(
                "versions",
                "failure",
                f"{where} is {image}, whose content changes",
                f"name a version, such as rayproject/ray:{ray}-py{TESTED_PYTHON.replace('.', '')}-gpu",
            )


def installation(file: ClusterFile) -> Iterator[Finding]:
    """Every node installs the project's wheel with the tested versions, or has it in its image."""
    installs = [command for command in file.setup if re.search(r"\bpip3?\b.*\binstall\b|\buv pip install\b", command)]
    ours = [command for command in installs if re.search(r"hsfm[_-]sweep", command)]
    if not file.setup and file.provider.get("type") == "aws":
        yield Finding(
            "installation",
            "failure",
            "setup_commands are left out, and Ray's default for AWS installs a nightly wheel of Ray",
            "setup_commands: one that installs the project's wheel (see the packaged cluster.yaml)",
        )
    elif not ours:
        yield Finding(
            "installation",
            "failure",
            "no setup command installs hsfm-sweep",
            "the wheel by file_mounts; setup_commands: [pip install -c ~/constraints.txt ~/wheels/hsfm_sweep-*.whl]",
        )
    for command in ours:
        if re.search(r"(?:^|\s)(?:-e|--editable)\s", command):
            yield Finding(
                "installation",
                "warning",
                f"`{command}` installs from a folder that may change under a running sweep",
                "build a wheel (`pip wheel . --no-deps -w dist`) and install that",
            )
        if not re.search(r"(?:^|\s)(?:-c|--constraint)[ =]", command):
            yield Finding(
                "installation",
                "warning",
                f"`{command}` takes whatever versions are newest on that day",
                "add -c constraints.txt, so that every node has the tested versions",
            )
    if "RAY_ADDRESS" not in file.text:
        yield Finding(
            "installation",
            "failure",
            "RAY_ADDRESS is set nowhere: a sweep on the head would start a Ray of its own and train there",
            "put `export RAY_ADDRESS=auto` into ~/.bashrc by a setup command, or before the sweep's command",
        )


def _image_names(file: ClusterFile) -> list[tuple[str, str]]:
    found = [(f"docker.{key}", file.docker.get(key)) for key in ("image", "head_image", "worker_image")]
    for name, node in file.node_types.items():
        docker = node.get("docker")
        if isinstance(docker, dict):
            found += [(f"available_node_types.{name}.docker.{key}", value) for key, value in docker.items()]
    return [(where, str(image)) for where, image in found if image and where.endswith("image")]


def _images(file: ClusterFile) -> list[tuple[str, str, str]]:
    """Where an image is named, and the Ray and Python in its tag; of Ray's own images only."""
    found = []
    for where, image in _image_names(file):
        name, _, tag = image.rpartition(":")
        if (match := _TAG.match(tag)) and name.split("/")[-1] in ("ray", "ray-ml", "ray-llm"):
            found.append((where, match[1], f"{match[2]}.{match[3]}" if match[2] else ""))
    return found
