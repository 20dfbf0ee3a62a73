"""The recipes of docs/RECIPES.md for several users, containers and agents: their blocks run as printed, on a host of its own.

Bridges are those of the kernel, with a pair of virtual interfaces for each container, as Docker makes them. `docker` is podman.
"""

import json
import shlex
import sys
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path

import composed
import kubelet
import program
import pytest
from conftest import IMAGE
from engine import Engine
from host import PATH, Host, Namespace
from mcp_endpoint import SERVICE, Agent, McpEndpoint
from named_bucket import NamedBucket
from programs import Client, until
from recipes import blocks
from sts import Sts, secret_of

ADDRESS = "169.254.170.2"
SHOW = "import boto3; print(boto3.Session().get_credentials().access_key)"
ASK = """
import sys, urllib.request
url, *token = sys.argv[1:]
urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": token[0]} if token else {}))
"""
MCP_IMAGE = "public.ecr.aws/mcp-proxy-for-aws/mcp-proxy-for-aws:latest"


def identity(name: str) -> str:
    """An identity with a key of its name, which the fakes know."""
    return f"[identities.{name}]\nsources = [{keys(name)}]\n"


def keys(name: str) -> str:
    key = f"AKIA{name.upper()}"
    return f'{{ access_key_id = "{key}", secret_access_key = "{secret_of(key)}" }}'


def section(name: str) -> str:
    """The same as a profile."""
    key = f"AKIA{name.upper()}"
    return f"[{name}]\naws_access_key_id = {key}\naws_secret_access_key = {secret_of(key)}\n"


@pytest.fixture
def host(tmp_path: Path, binary: Path, engine: Engine):
    with Host(tmp_path, binary, engine) as running:
        yield running


@pytest.fixture(scope="module")
def images(engine: Engine):
    """`program:latest`, which shows the key that boto3 finds, and the image of the MCP proxy."""
    folder = engine.directory / "recipes"
    folder.mkdir()
    proxy = [sys.executable, "-m", "mcp_proxy_for_aws.server"]
    for tag, line in {
        "localhost/program:latest": f"CMD {json.dumps([sys.executable, '-c', SHOW])}",
        MCP_IMAGE: f"ENTRYPOINT {json.dumps(proxy)}",
    }.items():
        (folder / "Dockerfile").write_text(f"FROM {program.IMAGE}\n{line}\n")
        engine.build(tag, folder / "Dockerfile", folder)


def docker_bridge(host: Host) -> Namespace:
    """docker0, and the network of a container on it."""
    host.bridge("docker0", "172.17.0.1/16")
    box = host.box("172.17.0.2/16", "172.17.0.1", "docker0")
    host.containers_on(box)
    return box


def status(box: Namespace) -> str:
    """The HTTP status that the broker answers in this network; 000 without an answer."""
    url = f"http://{ADDRESS}:9733/credentials"
    flags = ["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--max-time", "1"]
    return box.enter("curl", *flags, url, check=False).stdout


def test_two_users_have_an_identity_each(host: Host):
    recipe = blocks("Two programs of two users")
    [configuration], [token, of_web, of_backup] = recipe["toml"], recipe["sh"]
    host.run(token)
    with host.serve(configuration + identity("web") + identity("backup")), host.serve_here(NamedBucket) as s3:

        def listed(script: str, user: str, **variables: str) -> str:
            done = host.run(script, user, check=False, AWS_ENDPOINT_URL_S3=s3.endpoint, **variables)
            return done.stdout.split()[-1] if done.returncode == 0 else done.stderr

        assert (listed(of_web, "www-data"), listed(of_backup, "backup")) == ("akiaweb", "akiabackup")
        assert "401" in listed(of_web, "games")
        assert "Permission denied" in listed(of_backup, "games")
        token = host.path("/etc/credenza/backup.token").read_text()
        ask = 'curl --silent --output /dev/null --write-out "%{http_code}" --header "Authorization: $TOKEN" "$URI"'
        uri = "http://127.0.0.1:9733/credentials"
        answers = [host.run(ask, user, TOKEN=token, URI=uri).stdout for user in ("backup", "games", "www-data")]
        assert answers == ["200", "401", "401"], "a stolen token"


def test_two_containers_have_an_identity_each(engine: Engine, network: str, tmp_path: Path):
    recipe = blocks("Two containers")
    [compose], [configuration], [tokens] = recipe["yaml"], recipe["toml"], recipe["sh"]
    (tmp_path / "compose.yaml").write_text(compose)
    (tmp_path / "credenza").mkdir()
    (tmp_path / "credenza" / "credenza.toml").write_text(configuration)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "credentials").write_text(section("web") + section("reports"))
    kubelet.own(tmp_path / "keys" / "credentials", 0o640, 65532)
    engine.run(["sh", "-euc", f"cd {tmp_path}\n{tokens}"])
    file = composed.resolve(tmp_path / "compose.yaml")
    with ExitStack() as running:
        s3 = running.enter_context(NamedBucket())
        mounts = [f"--volume={mount}:{mount}:ro" for mount in program.mounts()]
        variables = program.VARIABLES | {"AWS_ENDPOINT_URL_S3": s3.endpoint, "AWS_REGION": "us-east-1"}
        mounts += [f"--env={name}={value}" for name, value in variables.items()]

        def run(name: str, where: str, image: dict, *more: str) -> None:
            service = file["services"][name] | image
            running.callback(lambda: engine.podman("rm", "--force", "--time", "1", name, check=False))
            running.callback(lambda: print(f"--- what {name} logged\n{engine.logs(name)}"))
            arguments = composed.run_arguments(service, where)
            engine.podman("run", "--detach", "--name", name, "--no-healthcheck", *more, *arguments)

        run("credenza", network, {"image": IMAGE, "command": ["serve"]})
        health = composed.health_command(file["services"]["credenza"])
        until("it is healthy", lambda: engine.podman("exec", "credenza", *health, check=False).returncode == 0)
        for name in ("web", "reports"):
            run(name, "container:credenza", {"image": program.IMAGE, "command": program.COMMAND}, *mounts)

        def python(container: str, *arguments: str) -> str:
            done = engine.podman("exec", container, sys.executable, *arguments, check=False)
            return done.stdout.strip() or done.stderr

        for name, other in (("web", "reports"), ("reports", "web")):
            assert python(name, *program.LIST[1:]) == f"buckets: akia{name}"
            token = python(name, "-c", "print(open('/run/secrets/token').read())")
            of_other = f"http://127.0.0.1:9733/credentials/{other}"
            assert "HTTP Error 403" in python(name, "-c", ASK, of_other, token)
            assert "HTTP Error 401" in python(name, "-c", ASK, of_other)
            assert python(name, "-c", "import os; print(os.listdir('/run/secrets'))") == "['token']"


def test_only_containers_of_the_bridge_reach_the_broker(host: Host, images):
    recipe = blocks("Containers on a bridge")
    [configuration], [network, token, container] = recipe["toml"], recipe["sh"]
    docker_bridge(host)
    beside = host.box("172.17.0.3/16", "172.17.0.1", "docker0")
    host.bridge("other", "172.18.0.1/16")
    elsewhere = host.box("172.18.0.2/16", "172.18.0.1", "other")
    machine = host.box("192.0.2.2/24", "192.0.2.1")
    address, *firewall = network.splitlines()
    host.run(address)
    host.run(token)
    local = '[clients.local]\nusers = ["root"]\nidentities = ["web"]\n'
    with host.serve(configuration + local + identity("web")):
        assert [status(box) for box in (beside, elsewhere, machine, host)] == ["401", "401", "401", "200"], "no firewall yet"
        host.run("\n".join(firewall))
        assert [status(box) for box in (beside, elsewhere, machine)] == ["401", "000", "000"]
        assert host.run(container).stdout.strip() == "AKIAWEB"
        # A firewall that closes the host to containers.
        host.run("iptables -P INPUT DROP; iptables -A INPUT -i lo -j ACCEPT")
        assert status(beside) == "401"
        refused = host.run(container.replace(ADDRESS, "172.17.0.1"), check=False)
        assert "Unsupported host '172.17.0.1'" in refused.stderr, refused
    host.path("/run/empty.toml").touch()
    refused = host.run("credenza --config /run/empty.toml serve --listen 172.17.0.1:9733", "credenza", check=False)
    assert refused.returncode != 0 and "allow_remote = true" in refused.stderr, refused


def test_containers_use_a_unix_socket_without_a_network(host: Host, images):
    recipe = blocks("A Unix socket in a container")
    [configuration], [profile], [folder, by_curl, relay, by_process] = recipe["toml"], recipe["ini"], recipe["sh"]
    host.containers_on(host)
    host.run(folder)
    host.path("/etc/credenza/reports.config").write_text(profile)
    with host.serve(configuration + identity("web") + identity("reports")):
        assert json.loads(host.run(by_curl).stdout)["AccessKeyId"] == "AKIAWEB"
        stranger = host.run(by_curl.replace("--user 10001", "--user 10002"), check=False)
        assert stranger.returncode == 22 and not stranger.stdout, stranger
        assert host.run(by_process).stdout.strip() == "AKIAREPORTS"
        show = shlex.join([sys.executable, "-c", SHOW])
        flags = "--rm --network none --user 10001 --volume /run/credenza-clients:/run/credenza:ro"
        relayed = host.run(f"docker run {flags} program:latest sh -c {shlex.quote(relay + show)}")
        assert relayed.stdout.strip() == "AKIAWEB"


@pytest.fixture
def box(host: Host, images) -> Namespace:
    """The network of a container on docker0, which reaches the broker."""
    host.run(f"ip address add {ADDRESS}/32 dev lo")
    return docker_bridge(host)


@pytest.fixture
def endpoint(box: Namespace):
    """An MCP endpoint of AWS within reach of the container."""
    with box.serve_here(McpEndpoint) as running:
        yield running


def agent_command(host: Host, endpoint: McpEndpoint) -> list[str]:
    """The printed configuration, with the fake in the place of the endpoint."""
    command, *arguments, url = printed_command()
    assert url.startswith(f"https://{SERVICE}.us-east-1.api.aws/"), "the name of the service is in the scope of signatures"
    return host.command(command, *arguments, endpoint.url, "--service", SERVICE)


def printed_command() -> list[str]:
    [text] = blocks("An agent in a container")["json"]
    server = json.loads(text)["mcpServers"]["aws"]
    return [server["command"], *server["args"]]


def test_an_agent_reads_for_half_an_hour(host: Host, endpoint: McpEndpoint):
    grant, again, _ = blocks("An agent in a container")["sh"]
    role = f'{{ role_arn = "arn:aws:iam::123456789012:role/Admin", source = {keys("base")}, region = "us-east-1" }}'
    configuration = f'[server]\nlisten = ["127.0.0.1:9733", "{ADDRESS}:9733"]\n[identities.prod]\nsources = [{role}]\n'
    with host.serve_here(Sts) as sts, host.serve(configuration, "ann", AWS_ENDPOINT_URL_STS=sts.endpoint):
        host.run(grant, "ann")
        ask = f'curl --silent --fail --header "Authorization: $(cat ~/agent/token)" http://{ADDRESS}:9733/credentials'
        end = datetime.fromisoformat(json.loads(host.run(ask, "ann").stdout)["Expiration"])
        left = end - datetime.now(timezone.utc)
        assert timedelta(minutes=29) < left <= timedelta(minutes=30)
        with Agent(agent_command(host, endpoint)) as agent:
            assert agent.tools() == ["whoami", "delete"]
            works, caller = agent.call("whoami")
            assert works and caller.startswith("AKIABASE > Admin(") and "policy=ReadOnlyAccess" in caller
            works, reason = agent.call("delete")
            assert not works and "AccessDenied" in reason
            host.run(again, "ann")
            assert agent.call("whoami") == (True, caller), "renewed in time"
            host.run("credenza revoke agent", "ann")
            works, reason = agent.call("whoami")
            assert not works and "401" in reason
            host.run(again, "ann")
            assert not agent.call("whoami")[0], "the proxy repeats its error; correct the document if it does no more"
            assert agent.call("whoami")[0], "the same program, never restarted"


def test_an_agent_changes_the_account_without_a_restart(host: Host, box: Namespace, endpoint: McpEndpoint):
    """The MCP proxy, and an agent that keeps a client of boto3."""
    recipe = blocks("An agent in a container")
    [configuration], [_, _, use] = recipe["toml"], recipe["sh"]
    host.run("install -d -m 700 ~/agent; openssl rand -hex 32 | tr -d '\\n' > ~/agent/token", "ann")
    *command, _, _ = printed_command()
    with ExitStack() as running:
        running.enter_context(host.serve(configuration + identity("default") + identity("staging"), "ann"))
        agent = running.enter_context(Agent(agent_command(host, endpoint)))
        s3 = running.enter_context(box.serve_here(NamedBucket))
        command = host.command(*command, "--env", f"AWS_ENDPOINT_URL_S3={s3.endpoint}", "program:latest", *program.LIST)
        boto3 = running.enter_context(Client(command, {"PATH": PATH}, host.path("/run")))
        for switch, name in (("true", "default"), (use, "staging"), ("credenza use default", "default")):
            host.run(switch, "ann")
            assert agent.call("whoami") == (True, f"AKIA{name.upper()}")
            assert boto3.list() == f"buckets: akia{name}"
