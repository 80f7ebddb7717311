"""What is deployed: each file is held to the rest, each service starts by its own command."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
import yaml

from leaderboard.cli import leaderboard
from leaderboard.store.store import Store
from lorweb_bench.data.dataset import Dataset

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*"))
VARIABLE = re.compile(r"\$\{(\w+)(?::[?-]([^}]*))?\}")
INSTRUCTIONS = {
    *("FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL"),
    *("HEALTHCHECK", "ENTRYPOINT", "CMD"),
}


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return content


def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", (DEPLOY / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def checked(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The options of a command of the board, as click reads them; it fails on unknown ones."""
    command = leaderboard.commands[words[0]]
    with click.Context(command) as context:
        command.parse_args(context, [word.replace("%%", "%") for word in words[1:]])
        return words[0], context.params


def test_the_dockerfile_is_in_order() -> None:
    found = dockerfile()
    assert {name for name, _ in found} <= INSTRUCTIONS
    for name, rest in found:
        if name == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), f"{source} is not there to copy"
                assert f"!{source}" in (ROOT / ".dockerignore").read_text().split()
        if name in ("ENTRYPOINT", "CMD"):
            json.loads(rest)
        if name == "FROM":
            assert re.match(r"[\w.-]+:[\w.-]+( AS \w+)?$", rest), "a version, not the latest"
    last = dict(found)
    assert last["USER"] == "board", "nothing runs as root"
    words = json.loads(last["ENTRYPOINT"]) + json.loads(last["CMD"])
    assert words[:2] == ["lorweb-bench", "leaderboard"]
    assert checked(words[2:])[0] == "serve"


def test_the_services_of_compose_hold_together() -> None:
    content = compose()
    services = content["services"]
    assert set(services) == {"database", "web", "worker", "proxy"}
    for name, service in services.items():
        assert ("image" in service or "build" in service) and "mem_limit" in service, name
        assert not str(service.get("image", "")).endswith(":latest")
        for needed in service.get("depends_on", {}):
            assert needed in services
        for network in service["networks"]:
            assert network in content["networks"]
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).is_file(), source
            elif not source.startswith("$"):
                assert source in content["volumes"], source
    assert "ports" in services["proxy"] and not any(
        "ports" in services[n] for n in ("web", "database")
    )
    assert services["proxy"]["networks"] == ["outside"], "the proxy does not reach the database"
    assert content["networks"]["inside"]["internal"] is True
    for name in ("web", "worker"):
        assert services[name]["read_only"] and services[name]["cap_drop"] == ["ALL"]
        assert services[name]["environment"]["LORWEB_BENCH_DATABASE"].startswith("postgresql://")
        command, options = checked([re.sub(VARIABLE, "x", w) for w in services[name]["command"]])
        assert options["store"] == Path("/store"), command
    assert services["web"]["environment"]["FORWARDED_ALLOW_IPS"] == "*"


def test_every_variable_of_compose_is_in_the_example() -> None:
    wanted = {name for name, _ in VARIABLE.findall((DEPLOY / "compose.yaml").read_text())}
    given = {
        line.partition("=")[0]
        for line in (DEPLOY / "board.env.example").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    }
    assert wanted == given


def nginx(upstream: str, certificates: Path, port: int, tls: int) -> str:
    """The proxy's configuration, filled in and whole."""
    text = (DEPLOY / "nginx/board.conf.template").read_text()
    text = text.replace("${SERVER_NAME}", "localhost").replace("web:8000", upstream)
    text = text.replace("/etc/nginx/certificates", str(certificates))
    text = re.sub(r"listen \[::\]:\d+.*\n", "", text)
    text = text.replace("listen 80 ", f"listen {port} ").replace("listen 443 ", f"listen {tls} ")
    folders = "".join(
        f"{name}_temp_path {certificates}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off;\npid {certificates}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{folders}{text}\n}}\n"
    )


def test_the_proxys_configuration_is_in_order() -> None:
    text = (DEPLOY / "nginx/board.conf.template").read_text()
    bare = re.sub(r"#.*", "", text)
    assert bare.count("{") == bare.count("}")
    for line in map(str.strip, bare.splitlines()):
        assert not line or line.endswith((";", "{", "}")), line
    for wanted in (
        "Strict-Transport-Security",
        "limit_conn connections",
        "limit_req zone=requests",
        "proxy_request_buffering off",
        "ssl_protocols TLSv1.2 TLSv1.3",
        "X-Forwarded-For $remote_addr",
    ):
        assert wanted in bare
    assert "$host$request_uri" not in bare, "no redirect to a Host that a client names"
    assert "metrics" not in bare


def test_nginx_serves_the_board_by_tls(
    light_board: Store, service: Any, port: Callable[[], int], until: Any, tmp_path: Path
) -> None:
    """The real proxy before the real service, where nginx is installed."""
    if not shutil.which("nginx") or not shutil.which("openssl"):
        pytest.skip("nginx or openssl is not installed")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=localhost", "-keyout", tmp_path / "privkey.pem"),
            *("-out", tmp_path / "fullchain.pem"),
        ],
        check=True,
        capture_output=True,
    )
    plain, tls = port(), port()
    (tmp_path / "nginx.conf").write_text(nginx(f"127.0.0.1:{service.port}", tmp_path, plain, tls))
    if b"http2 on" in (tmp_path / "nginx.conf").read_bytes() and _old_nginx():
        text = (tmp_path / "nginx.conf").read_text().replace("    http2 on;\n", "")
        (tmp_path / "nginx.conf").write_text(text)
    process = subprocess.Popen(["nginx", "-p", tmp_path, "-c", tmp_path / "nginx.conf"])
    try:
        with httpx.Client(base_url=f"https://localhost:{tls}", verify=False) as client:
            answer = until(lambda: client.get("/api/v1/health"))
            assert answer.status_code == 200
            assert answer.headers["strict-transport-security"].startswith("max-age=31536000")
        with httpx.Client(headers={"Host": "evil.example.org"}) as client:
            sent = client.get(f"http://127.0.0.1:{plain}/methods/x.html")
            assert sent.headers["location"] == "https://localhost/methods/x.html"
    finally:
        process.terminate()
        process.wait()


def _old_nginx() -> bool:
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    major, minor = re.findall(r"(\d+)\.(\d+)", said)[0]
    return (int(major), int(minor)) < (1, 25)


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_the_units_of_systemd_are_in_order(unit: Path) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(unit.read_text())
    assert parser["Unit"]["Description"]
    if unit.suffix == ".timer":
        assert parser["Timer"]["OnCalendar"] and unit.with_suffix(".service").is_file()
        return
    section = parser["Service"]
    assert section["User"] == "board" and section["NoNewPrivileges"] == "true"
    words = shlex.split(section["ExecStart"])
    if words[0] == "/bin/sh":
        words = shlex.split(words[2].removeprefix("exec "))
    assert words[:2] == ["/opt/board/bin/lorweb-bench", "leaderboard"]
    checked(words[2:])
    assert "/srv/board/store" in section["ReadWritePaths"]
    if shutil.which("systemd-analyze"):
        said = subprocess.run(
            ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
        ).stderr
        assert "Unknown" not in said and "Invalid" not in said, said


def test_each_service_starts_by_the_command_that_compose_has(
    postgres: str,
    small_suite: Dataset,
    small_suite_path: Path,
    archives: Any,
    port: Callable[[], int],
    spawn: Any,
    until: Any,
    tmp_path: Path,
) -> None:
    """Web and worker, on PostgreSQL, from the words of compose.yaml; a submission goes through."""
    services, number, monitored = compose()["services"], port(), port()
    here = {"/store": str(tmp_path / "store"), "0.0.0.0": "127.0.0.1", "9100": str(monitored)}

    def start(name: str, *more: object) -> Any:
        words = [re.sub(VARIABLE, "A board", word) for word in services[name]["command"]]
        given = [here.get(word, word) for word in words]
        return spawn(*given, *more, LORWEB_BENCH_DATABASE=postgres)

    start("web", "--port", number)
    address = f"http://127.0.0.1:{number}"
    until(lambda: httpx.get(f"{address}/api/v1/health").status_code == 200)
    environment = {"LORWEB_BENCH_DATABASE": postgres}
    at = ("--store", tmp_path / "store")
    assert spawn("suite", small_suite_path, *at, "--accept", **environment).wait() == 0
    token = tmp_path / "token"
    assert spawn("team", "Ada", *at, "-o", token, **environment).wait() == 0
    start("worker")
    (path,) = archives(1)
    sent = spawn("submit", path, "--to", address, "--token-file", token)
    assert sent.wait() == 0
    log = next(tmp_path.glob("submit-*.log")).read_text()
    assert "Accepted, re-scored." in log and "It " in log, "where it stands, without a terminal"
    assert httpx.get(f"{address}/api/v1/health", params={"strict": True}).status_code == 200
    metrics = httpx.get(f"http://127.0.0.1:{monitored}/metrics").text
    assert "lorweb_bench_board_workers 1.0" in metrics
    lines = next(tmp_path.glob("worker-*.log")).read_text().splitlines()
    assert all(json.loads(line)["message"] for line in lines), "a JSON object a line"


def test_services_wait_for_a_database_that_is_starting(
    cluster: Any, port: Callable[[], int], spawn: Any, until: Any, tmp_path: Path
) -> None:
    number = port()
    cluster.stop()
    try:
        url = {"LORWEB_BENCH_DATABASE": cluster.url}
        waiting = spawn("serve", "--store", tmp_path / "store", "--port", number, **url)
        late = spawn("serve", "--store", tmp_path / "store", "--wait", 0, **url)
        assert late.wait() == 2, "without --wait it says what is wrong"
        assert waiting.poll() is None
    finally:
        cluster.start()
    until(lambda: httpx.get(f"http://127.0.0.1:{number}/api/v1/health").status_code == 200)
