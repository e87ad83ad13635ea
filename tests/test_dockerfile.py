"""The container image, checked without an engine: its steps are the ones that are tested here."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from server.commands.serve import STOP_TIMEOUT_S
from server.config import DEFAULT_DRAIN_TIMEOUT_S, add_server_flags, load
from tests.project import ROOT, make_targets

HEALTHCHECK = ROOT / ".ci" / "healthcheck.py"
#: What the image's base has before `make` runs.
_BASE_COMMANDS = {"apt-get", "rm", "useradd", "install"}


def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1].strip()) for line in lines]


def every(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def sources() -> list[str]:
    return [source for copied in every("COPY") for source in copied.split()[:-1]]


def test_its_steps_are_those_of_make() -> None:
    steps = [step.split() for run in every("RUN") for step in run.split("&&")]
    made = [step[1:] for step in steps if step[0] == "make"]
    assert {target for targets in made for target in targets} <= make_targets()
    assert ["install"] in made
    assert {step[0] for step in steps if step[0] != "make"} <= _BASE_COMMANDS


def test_everything_it_copies_exists_and_is_sent_to_the_engine() -> None:
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    for source in sources():
        assert (ROOT / source).exists()
        assert any(line.startswith(f"!{source}") for line in sent), source


def test_what_it_copies_is_all_that_make_install_needs(tmp_path: Path) -> None:
    for source in sources():
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / source, ignore=lambda *_: ["__pycache__"])
        else:
            shutil.copy(ROOT / source, tmp_path)
    # `make` resolves every prerequisite and prints its commands; running them is `make install`.
    plan = subprocess.run(
        ["make", "--dry-run", "install"], cwd=tmp_path, capture_output=True, text=True
    )
    assert plan.returncode == 0, plan.stderr
    scripts = re.findall(r"^(\.ci/\S+)", plan.stdout, re.MULTILINE)
    assert scripts
    assert all(os.access(tmp_path / script, os.X_OK) for script in scripts)
    assert all((tmp_path / lock).exists() for lock in re.findall(r"-r (\S+)", plan.stdout))


def test_the_server_in_it_is_not_root() -> None:
    names = [name for name, _ in instructions()]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")
    assert every("USER") == ["vivavoce"]


def test_it_opens_the_port_for_both_protocols_and_keeps_data_in_a_volume() -> None:
    assert every("EXPOSE") == ["8080/tcp 8080/udp"]
    assert every("VOLUME") == ["/data"]
    assert any("VIVAVOCE_DATA_DIR=/data" in env for env in every("ENV"))


def test_its_command_is_understood_by_the_server() -> None:
    command = json.loads(every("CMD")[0])
    parser = argparse.ArgumentParser()
    add_server_flags(parser)
    config = load(parser.parse_args(command[1:]), {"VIVAVOCE_DATA_DIR": "/data"})
    assert command[0] == "serve"
    assert (config.host, config.port, config.tls) == ("0.0.0.0", 8080, True)
    assert str(config.data_dir) == "/data"


def test_the_compose_file_gives_the_server_longer_than_it_takes() -> None:
    text = (ROOT / "compose.yaml").read_text()
    grace_s = int(_only(r"stop_grace_period: (\d+)s", text))
    command = _only(r"command: (.*)", text)
    flags = re.sub(r"\$\{ADDRESS:.*?\}", "192.0.2.7", command).split()
    parser = argparse.ArgumentParser()
    add_server_flags(parser)
    config = load(parser.parse_args(flags[1:]), {})
    assert (flags[0], config.tls) == ("serve", True)
    assert grace_s >= config.drain_timeout_s + STOP_TIMEOUT_S


def test_a_stop_of_docker_leaves_time_to_drain_and_to_seal() -> None:
    docker_kills_after_s = 10
    assert docker_kills_after_s / 2 >= DEFAULT_DRAIN_TIMEOUT_S


def _only(pattern: str, text: str) -> str:
    (found,) = re.findall(pattern, text)
    return str(found)


class _Health(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class _Unhealthy(_Health):
    status = 503


@pytest.fixture
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), request.param) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield http.server_port
        http.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("port", "status"), [(_Health, 0), (_Unhealthy, 1)], indirect=["port"], ids=["200", "503"]
)
def test_its_health_check_exits_as_the_server_answers(port: int, status: int) -> None:
    assert _health_check(port) == status


def test_its_health_check_fails_without_a_server() -> None:
    with HTTPServer(("127.0.0.1", 0), _Health) as unused:
        port = unused.server_port
    assert _health_check(port) == 1


def _health_check(port: int) -> int:
    assert ".ci/healthcheck.py" in every("HEALTHCHECK")[0]
    environment = {"VIVAVOCE_PORT": str(port)}
    return subprocess.run([sys.executable, HEALTHCHECK], env=environment).returncode
