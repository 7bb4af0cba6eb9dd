"""The container files: what a linter and a reader of the compose specification say, and what we promise."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyOptions

from bots.cli import app

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
OURS = ("bot", "worker", "beat", "migrate", "chroma")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    told: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text())
    return told


def interpolated(text: str) -> str:
    """As compose does before it reads: `${NAME:-default}`, and `${NAME:?complaint}` for what must be set."""
    return re.sub(r"\$\{\w+:([-?])([^}]*)\}", lambda found: found[2] if found[1] == "-" else "set", text)


def known_commands() -> set[str]:
    return {
        command.name or command.callback.__name__.replace("_", "-")
        for command in app.registered_commands
        if command.callback
    }


def test_the_linter_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == ""
    assert done.returncode == 0


def test_the_compose_file_is_to_the_specification() -> None:
    options = PyOptions()
    options.apply_merge = True
    read = options.from_yaml(interpolated((DEPLOY / "compose.yml").read_text()))
    read.validate()
    assert set(read.service_names()) == {*OURS, "redis", "postgres"}


def test_what_is_depended_on_has_the_check_that_is_waited_for(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for name, condition in (service.get("depends_on") or {}).items():
            if condition["condition"] == "service_healthy":
                assert "test" in services[name]["healthcheck"]
            else:
                assert services[name]["restart"] == "no"


def test_only_the_service_is_published_and_on_loopback_only(compose: dict[str, Any]) -> None:
    published = {
        name: service["ports"] for name, service in compose["services"].items() if "ports" in service
    }
    assert published == {"bot": ["127.0.0.1:${HTTP_PORT:-8080}:8080"]}


def test_the_stores_reach_nobody(compose: dict[str, Any]) -> None:
    assert compose["networks"]["stores"]["internal"] is True
    for name in ("redis", "chroma", "postgres"):
        assert compose["services"][name]["networks"] == ["stores"]


def test_what_must_last_lies_in_a_volume(compose: dict[str, Any]) -> None:
    for name in (*OURS, "redis", "postgres"):
        (mount,) = compose["services"][name]["volumes"]
        assert mount.split(":")[0] in compose["volumes"]


def test_no_secret_stands_in_the_files() -> None:
    text = (DEPLOY / "compose.yml").read_text()
    for line in text.splitlines():
        if re.search(r"(PASSWORD|KEY|TOKEN|SECRET|DATABASE_URL)\w*: ", line):
            assert re.search(r"\$\{\w+:\?", line)


def test_our_containers_can_do_little(compose: dict[str, Any]) -> None:
    for name in OURS:
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    last_user = re.findall(r"^USER (.+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)[-1]
    assert int(last_user.split(":")[0]) > 0


def test_every_command_that_is_named_exists(compose: dict[str, Any]) -> None:
    named = {compose["services"][name]["command"][0] for name in ("bot", "worker", "beat", "migrate")}
    for file in ("Dockerfile", "README.md"):
        named |= set(re.findall(r"\bmneme ([a-z][a-z-]*)", (DEPLOY / file).read_text()))
        named |= set(re.findall(r'CMD \["([a-z-]+)"\]', (DEPLOY / file).read_text()))
    assert named
    assert named <= known_commands()


def test_the_image_gets_no_more_than_it_needs() -> None:
    wanted = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in wanted if line.startswith("!")}
    copied = set()
    for names in re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE):
        copied |= set(names.split())
    assert wanted[1] == "*"
    assert copied == allowed
    assert all((ROOT / name).exists() for name in allowed)
