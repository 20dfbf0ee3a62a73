"""Runs on a freshly booted host (boot.sh): installs the Debian packages and checks the promises of the units.

Prints one line for each check; at the end `N passed, N failed`. The checks run in this order, and each leaves a running
broker behind.
"""

import json
import os
import pwd
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

from host import CONFIG, DROPINS, ENVIRONMENT, HOME, PORT, SERVICE, SOCKET, TOKEN
from host import Load, ask, ask_as, dropin, journal, key, main_pid, run, show, systemctl, until, write
from imds import Credentials, Imds, in_seconds
from serving import ContainerEndpoint

HUSH = "hush/Secret+0123"  # in every secret here; the journal must never contain it
UNITS = Path("/usr/lib/systemd/system")
USER_UNITS = Path("/usr/lib/systemd/user")
IDENTITIES = ["profile", "person", "url", "keys", "environment", "container", "imds"]
GOOD = "\n".join(
    [
        '[identities.default]\nsources = ["profile"]',
        '[identities.profile]\nsources = ["profile"]',
        '[identities.person]\nsources = [{ profile = "default", credentials_file = "/home/person/.aws/credentials" }]',
        '[identities.url]\nsources = [{ url_file = "/run/credentials/credenza.service/credenza.url" }]',
        "[identities.keys]\nsources = [{ access_key_id_file = '/run/credentials/credenza.service/credenza.access-key-id', "
        "secret_access_key_file = '/run/credentials/credenza.service/credenza.secret-access-key' }]",
        '[identities.environment]\nsources = ["environment"]',
        '[identities.container]\nsources = ["container"]',
        '[identities.imds]\nsources = ["imds"]\n',
    ]
)
BAD = "[server]\nnonsense = true\n"
CHECKS = []
endpoint = ContainerEndpoint("ASIACONTAINER", HUSH, HUSH, "container-authorization")


def check(function):
    CHECKS.append(function)
    return function


def packages() -> list[str]:
    """The program, and the daemon of the system."""
    return [package("credenza"), package("credenza-daemon")]


def package(name: str) -> str:
    [found] = Path(".").glob(f"{name}_*.deb")
    return str(found)


def build(folder: str) -> str:
    """Builds a package of an unpacked one."""
    file = f"{folder.replace('/', '-')}.deb"
    run("dpkg-deb", "-Znone", "--root-owner-group", "--build", folder, file)
    return file


def dpkg(*arguments: str):
    # The triggers of other packages take longer than the rest.
    return run("dpkg", "--no-triggers", "--force-confold", *arguments)


def serving() -> None:
    until("the broker serves", lambda: systemctl("is-active", SERVICE) == "active" and key() == "AKIDPROFILE")


def keys_file(access_key: str) -> str:
    return f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = {HUSH}\n"


# -- installed --------------------------------------------------------------------------------------------------------


@check
def the_program_alone_brings_no_daemon():
    dpkg("--install", package("credenza"))
    version = run("credenza", "--version").stdout.strip()
    assert not list(UNITS.glob("credenza*")) and (USER_UNITS / SERVICE).exists()
    assert not CONFIG.exists() and "credenza" not in [account.pw_name for account in pwd.getpwall()]
    try:
        socket.create_connection(("127.0.0.1", PORT), timeout=5).close()
        raise AssertionError("a daemon listens")
    except ConnectionRefusedError:
        pass
    enabled = [path for path in Path("/etc/systemd").rglob("*credenza*")]
    assert not enabled, enabled
    assert Path("/usr/share/doc/credenza/docs/REMOVE.md").exists()
    return f"{version}, no unit of the system, no user, no port"


@check
def the_packages_install_enable_and_start():
    dpkg("--install", *packages())
    states = [systemctl(what, unit) for unit in (SOCKET, SERVICE) for what in ("is-enabled", "is-active")]
    assert states == ["enabled", "active"] * 2, states
    account = pwd.getpwnam("credenza")
    assert account.pw_dir == str(HOME) and account.pw_shell.endswith("nologin"), account
    assert (CONFIG.owner(), CONFIG.group(), CONFIG.stat().st_mode & 0o777) == ("root", "credenza-config", 0o644), CONFIG.stat()
    # The auth token exists before the first request, and an empty configuration is valid.
    assert TOKEN.exists() and key().startswith("404 CredentialsNotConfigured"), key()
    return f"{run('credenza', '--version').stdout.strip()}, both units enabled and active"


@check
def everybody_has_the_command():
    for user in ("member", "stranger", "person"):
        run("useradd", "--create-home", user)
    run("usermod", "--append", "--groups", "credenza", "member")
    # A home with files that the broker may read, if their modes allow it.
    os.chmod("/home/person", 0o711)
    write(Path("/home/person/.aws/credentials"), keys_file("AKIDPERSON"), 0o644, "person", "person")
    found = json.loads(run("credenza", "get", user="person", env=environment_of("person")).stdout)
    assert found["AccessKeyId"] == "AKIDPERSON", found["AccessKeyId"]
    CONFIG.chmod(0o640)
    said = run("credenza", "get", user="person", env=environment_of("person"), fails=True).stderr
    assert "/home/person/.config/credenza/credenza.toml, even an empty one" in said, said
    write(Path("/home/person/.config/credenza/credenza.toml"), "", 0o644, "person", "person")
    run("credenza", "get", user="person", env=environment_of("person"))
    return f"credenza get: {found['AccessKeyId']}, without the daemon; with a closed {CONFIG} it says what to do"


def environment_of(user: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": f"/home/{user}", "XDG_RUNTIME_DIR": f"/run/user/{pwd.getpwnam(user).pw_uid}"}


@check
def the_units_verify():
    units = [str(UNITS / SERVICE), str(UNITS / SOCKET)]
    ended = run("systemd-analyze", "--man=no", "verify", *units)
    units = [str(USER_UNITS / SERVICE), str(USER_UNITS / SOCKET)]
    runtime = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": "/run"}
    personal = run("systemd-analyze", "--man=no", "--user", "verify", *units, env=runtime)
    said = ended.stdout + ended.stderr + personal.stdout + personal.stderr
    assert not said, said
    # It prints mistakes, but exits with 0 even then.
    wrong = Path("wrong.service")
    wrong.write_text((UNITS / SERVICE).read_text().replace("LimitCORE=", "LimitCROE="))
    assert "LimitCROE" in run("systemd-analyze", "--man=no", "verify", f"./{wrong}").stderr
    return "4 units, not a word"


@check
def exposure_is_1_5_at_most():
    ended = run("systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", str(UNITS / SERVICE))
    return ended.stdout.strip().splitlines()[-1].lstrip("→ ")


# -- configured -------------------------------------------------------------------------------------------------------


@check
def every_source_works_in_the_sandbox():
    write(HOME / ".aws/credentials", keys_file("AKIDPROFILE"), 0o600, "credenza", "credenza")
    run("chown", "credenza:credenza", str(HOME / ".aws"))
    for name, secret in [
        ("access-key-id", "AKIDKEYS"),
        ("secret-access-key", HUSH),
        ("url", "http://AKIDURL:" + HUSH.replace("/", "%2F").replace("+", "%2B") + "@127.0.0.1:9000"),
    ]:
        write(Path(f"/etc/credstore/credenza.{name}"), secret, 0o600)
    variables = {
        "AWS_ACCESS_KEY_ID": "AKIDENVIRONMENT",
        "AWS_SECRET_ACCESS_KEY": HUSH,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": endpoint.url,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "container-authorization",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.endpoint,
    }
    write(ENVIRONMENT, "".join(f"{name}={value}\n" for name, value in variables.items()), 0o600)
    write(CONFIG, GOOD, 0o640, group="credenza-config")
    systemctl("restart", SERVICE)
    found = {name: key(name) for name in IDENTITIES}
    want = {name: ("ASIA" if name in ("container", "imds") else "AKID") + name.upper() for name in IDENTITIES}
    assert found == want, found
    return ", ".join(IDENTITIES)


@check
def ready_comes_after_the_first_load():
    endpoint.delay, before = 1.0, endpoint.asked
    try:
        systemctl("restart", "--no-block", SERVICE)
        until("the container endpoint is asked", lambda: endpoint.asked > before)
        during = show(SERVICE, "ActiveState")
        until("ready", lambda: show(SERVICE, "ActiveState") == "active")
    finally:
        endpoint.delay = 0.0
    assert during == "activating", during
    # Programs need not wait for credentials once the unit is active.
    found = key("container", seconds=1)
    assert found == "ASIACONTAINER", found
    return f"{during} while the first load was under way, then active"


@check
def the_status_line_tells_how_it_is():
    line = until("a status line", lambda: show(SERVICE, "StatusText"))
    assert line == f"{len(IDENTITIES) + 1} of {len(IDENTITIES) + 1} identities have credentials", line
    return line


@check
def members_of_the_group_get_credentials():
    ended = ask_as("member")
    assert ended.returncode == 0 and json.loads(ended.stdout)["AccessKeyId"] == "AKIDPROFILE", ended
    run("credenza", "status", user="member")
    # The unit of a program that names the group.
    ask_once = 'curl -q -sS --fail -H "Authorization: $(cat /run/credenza/token)" http://127.0.0.1:9733/credentials'
    unit = ["systemd-run", "--quiet", "--pipe", "--wait", "--property=DynamicUser=yes"]
    ended = run(*unit, "--property=SupplementaryGroups=credenza", "sh", "-c", ask_once)
    assert json.loads(ended.stdout)["AccessKeyId"] == "AKIDPROFILE", ended
    run(*unit, "sh", "-c", ask_once, fails=True)
    return f"{TOKEN.owner()}:{TOKEN.group()} {TOKEN.stat().st_mode & 0o777:o} in {TOKEN.parent.stat().st_mode & 0o777:o}"


@check
def others_do_not():
    ended = ask_as("stranger")
    assert ended.returncode == 77 and "Permission denied" in ended.stderr, ended
    run("ls", "/run/credenza", user="stranger", fails=True)
    run("cat", "/run/credentials/credenza.service/credenza.url", user="stranger", fails=True)
    # Members of the group must not read the broker's own files.
    run("cat", str(CONFIG), user="member", fails=True)
    run("cat", "/run/credentials/credenza.service/credenza.url", user="member", fails=True)
    without, wrong = ask(token=""), ask(token="x" * 43)
    assert (without[0], wrong[0]) == (401, 401), (without, wrong)
    return f"{ended.stderr.splitlines()[0]}; without a token and with a wrong one 401"


@check
def another_group_is_a_drop_in():
    token = TOKEN.read_text()
    run("groupadd", "--users", "stranger", "data")
    with dropin("group", "[Service]\nGroup=data\nEnvironment=CREDENZA_TOKEN_GROUP=data\n"):
        systemctl("restart", SERVICE)
        ended = ask_as("stranger")
        assert ended.returncode == 0 and json.loads(ended.stdout)["AccessKeyId"] == "AKIDPROFILE", ended
        assert ask_as("member").returncode == 77
    systemctl("restart", SERVICE)
    assert (ask_as("stranger").returncode, ask_as("member").returncode) == (77, 0)
    assert TOKEN.read_text() == token
    return "its members have credentials then, those of the usual one do not; the token is the same"


@check
def the_broker_s_user_can_check():
    unit = ["systemd-run", "--quiet", "--pipe", "--property=User=credenza", "--property=EnvironmentFile=/etc/credenza/environment"]
    Path("/tmp/new.toml").write_text(BAD)
    ended = run(*unit, "credenza", "--config", "/tmp/new.toml", "check", fails=True)
    assert ended.returncode == 78 and "nonsense" in ended.stdout + ended.stderr, ended
    said = run(*unit, "--property=LoadCredential=credenza.url", "sh", "-c", "credenza check -v || true").stdout
    assert "AKIDPROFILE" in said and "AKIDENVIRONMENT" in said, said
    return "credenza check, with 78 for a file that would be refused"


@check
def both_addresses_are_served():
    if not Path("/proc/net/if_inet6").exists():
        return "127.0.0.1; this kernel has no IPv6"
    assert key(host="::1") == "AKIDPROFILE"
    return "127.0.0.1 and ::1"


@check
def secrets_stay_in_memory():
    limits = Path(f"/proc/{main_pid()}/limits").read_text()
    core = next(line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core == ["0", "0"], core
    assert show(SERVICE, "MemorySwapMax") == "0"
    # In /proc, a process that cannot be dumped belongs to root, whatever its user.
    owner = Path(f"/proc/{main_pid()}/environ").stat().st_uid
    assert owner == 0, f"it can be dumped: /proc/PID/environ belongs to {owner}"
    run("cat", f"/proc/{main_pid()}/environ", user="credenza", fails=True)
    return "no core, no swap, not dumpable"


# -- goes on ----------------------------------------------------------------------------------------------------------


@check
def the_watchdog_kills_what_hangs_and_it_comes_back():
    patience = show(SERVICE, "WatchdogUSec")
    token = TOKEN.read_text()
    with dropin("patience", "[Service]\nWatchdogSec=2\n"):
        systemctl("restart", SERVICE)
        restarts, hung = int(show(SERVICE, "NRestarts")), main_pid()
        os.kill(hung, signal.SIGSTOP)
        # A client meanwhile waits, and the next process answers it.
        began, found = time.monotonic(), key()
        took = time.monotonic() - began
        assert found == "AKIDPROFILE" and main_pid() != hung, (found, hung)
        assert int(show(SERVICE, "NRestarts")) == restarts + 1, show(SERVICE, "NRestarts")
    assert "Watchdog timeout" in journal(), journal()
    assert patience == "30s", patience
    assert TOKEN.read_text() == token
    systemctl("restart", SERVICE)
    return f"after {took:.1f} s a client that had asked the stopped process was answered; shipped: {patience}"


@check
def a_crash_is_followed_by_a_start():
    token, died = TOKEN.read_text(), main_pid()
    os.kill(died, signal.SIGKILL)
    found = key()
    assert found == "AKIDPROFILE" and main_pid() != died, found
    assert TOKEN.read_text() == token
    return "kill -9; the client that asked then was answered, the token is the same"


@check
def a_reload_takes_a_new_configuration():
    pid = main_pid()
    with Load() as load:
        write(CONFIG, GOOD + '[identities.later]\nsources = ["profile"]\n', 0o640, group="credenza-config")
        systemctl("reload", SERVICE)
        found = until("the new identity", lambda: (answer := key("later")) == "AKIDPROFILE" and answer)
        write(CONFIG, BAD, 0o640, group="credenza-config")
        systemctl("reload", SERVICE)
        line = until("it is told", lambda: "has an error" in (text := show(SERVICE, "StatusText")) and text)
        assert key("later") == found and main_pid() == pid
        write(CONFIG, GOOD, 0o640, group="credenza-config")
        systemctl("reload", SERVICE)
        until("the old one again", lambda: key("later").startswith("404 IdentityNotFound"))
    return f"and a refused one changes nothing: {line!r}; {load.answers} answers meanwhile"


@check
def nobody_else_can_take_the_port():
    systemctl("stop", SERVICE)
    attempt = (
        "import socket; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1);"
        f"s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1); s.bind(('127.0.0.1', {PORT})); s.listen()"
    )
    for user in ("stranger", "credenza"):
        said = run(sys.executable, "-c", attempt, user=user, fails=True).stderr
        assert "Address already in use" in said, said
    token = TOKEN.read_text()
    # The service is down, the auth token exists, and the first client starts it.
    assert systemctl("show", "-P", "ActiveState", SERVICE) == "inactive"
    assert key() == "AKIDPROFILE" and TOKEN.read_text() == token
    return "not while the service is stopped either; the first client started it"


@check
def restarts_under_load_lose_no_request():
    token, pids = TOKEN.read_text(), set()
    with Load() as load:
        for _ in range(10):
            # The start limit is for starts that no client requested.
            systemctl("reset-failed", SERVICE)
            systemctl("restart", SERVICE)
            pids.add(main_pid())
            time.sleep(0.1)
    assert len(pids) == 10 and TOKEN.read_text() == token
    return f"10 restarts, {load.answers} answers, the token is the same"


@check
def an_upgrade_under_load_loses_no_request():
    # The next version: to systemd, another program and another unit.
    version = run("dpkg-deb", "--field", package("credenza"), "Version").stdout.strip()
    Path("next").mkdir()
    for name in ("credenza", "credenza-daemon"):
        run("dpkg-deb", "--raw-extract", package(name), f"next/{name}")
        control = Path(f"next/{name}/DEBIAN/control")
        control.write_text(control.read_text().replace(version, f"{version}+next"))
    with Path("next/credenza/usr/bin/credenza").open("ab") as program:
        program.write(b"next")
    with Path("next/credenza-daemon/usr/lib/systemd/system", SERVICE).open("a") as unit:
        unit.write("# next\n")
    following = [build(f"next/{name}") for name in ("credenza", "credenza-daemon")]
    token, before = TOKEN.read_text(), main_pid()
    systemctl("reset-failed", SERVICE)
    # The group that an earlier version gave to the file.
    run("chgrp", "credenza", str(CONFIG))
    with Load() as load:
        dpkg("--install", *following)
        # The running program is the installed one.
        until("the new program", lambda: Path(f"/proc/{main_pid()}/exe").read_bytes().endswith(b"next"))
        time.sleep(0.3)
    assert main_pid() != before and show(SERVICE, "NeedDaemonReload") == "no"
    assert TOKEN.read_text() == token and CONFIG.read_text() == GOOD and CONFIG.group() == "credenza-config"
    return f"{load.answers} answers, the token and the configuration are the same"


# -- and stops where it should ----------------------------------------------------------------------------------------


@check
def a_bad_configuration_stops_without_a_loop():
    write(CONFIG, BAD, 0o640, group="credenza-config")
    systemctl("reset-failed", SERVICE)
    systemctl("restart", SERVICE, fails=True)
    # Longer than RestartSec.
    time.sleep(1.5)
    state = {name: show(SERVICE, name) for name in ("ActiveState", "Result", "ExecMainStatus", "NRestarts", "StatusText")}
    assert (state["ActiveState"], state["ExecMainStatus"], state["NRestarts"]) == ("failed", "78", "0"), state
    assert show(SOCKET, "ActiveState") == "active", "the port must stay held"
    said = journal()
    assert "nonsense" in said, said
    # A nonsensical variable does not either.
    write(CONFIG, GOOD, 0o640, group="credenza-config")
    with dropin("variable", "[Service]\nEnvironment=CREDENZA_ALLOW_REMOTE=perhaps\n"):
        systemctl("restart", SERVICE, fails=True)
        time.sleep(1.5)
        assert (show(SERVICE, "ExecMainStatus"), show(SERVICE, "NRestarts")) == ("2", "0"), journal()[-1000:]
    write(CONFIG, BAD, 0o640, group="credenza-config")
    return f"exit code 78, no restart, the socket stays open: {state['StatusText']!r}"


@check
def a_waiting_client_starts_it_up_to_the_start_limit():
    assert CONFIG.read_text() == BAD
    systemctl("reset-failed", SERVICE, SOCKET)
    run("journalctl", "--rotate")
    began = journal().count("Starting credenza.service")
    with socket.create_connection(("127.0.0.1", PORT), timeout=20) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        ended = until("the socket is closed too", lambda: show(SOCKET, "ActiveState") == "failed", 20)
        try:
            answer = client.recv(1)
        except ConnectionResetError:
            answer = b""
    assert ended and answer == b""
    results = (show(SERVICE, "Result"), show(SOCKET, "Result"))
    starts = journal().count("Starting credenza.service") - began
    assert results[1] == "service-start-limit-hit", results
    assert 2 <= starts <= 15, starts
    try:
        socket.create_connection(("127.0.0.1", PORT), timeout=5).close()
        raise AssertionError("the port is still served")
    except ConnectionRefusedError:
        pass
    # As in docs/SYSTEMD.md.
    write(CONFIG, GOOD, 0o640, group="credenza-config")
    systemctl("reset-failed", SERVICE, SOCKET)
    systemctl("start", SERVICE)
    serving()
    assert show(SOCKET, "ActiveState") == "active"
    return f"{starts} starts, then {results[1]}; mended, it serves again"


# -- drop-ins, and the user service -----------------------------------------------------------------------------------


@check
def the_drop_in_for_processes_gives_them_what_they_need():
    program = "import mmap, tempfile; mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)"
    program += "; tempfile.TemporaryFile(dir='/tmp'); open('/proc/meminfo').close(); import os; os.setpriority(0, 0, 1)"
    trial = f'[Service]\nExecStartPre={sys.executable} -c "{program}"\n'
    with dropin("trial", trial):
        # Without the drop-in, the sandbox refuses it.
        systemctl("restart", SERVICE, fails=True)
        systemctl("stop", SOCKET, SERVICE)
        systemctl("reset-failed", SERVICE, SOCKET)
        shipped = Path("/usr/share/doc/credenza/process.conf").read_text()
        with dropin("process", shipped) as path:
            said = run("systemd-analyze", "--man=no", "verify", str(UNITS / SERVICE))
            assert not said.stdout + said.stderr, said
            systemctl("start", SERVICE)
            serving()
            found = {name: key(name) for name in IDENTITIES}
            assert not [value for value in found.values() if "A" != value[0]], found
            assert str(path) in show(SERVICE, "DropInPaths")
            properties = {name: show(SERVICE, name) for name in ("MemoryDenyWriteExecute", "PrivateTmp", "OOMPolicy", "NoNewPrivileges")}
            assert list(properties.values()) == ["no", "yes", "continue", "yes"], properties
            exposure = run("systemd-analyze", "security", "--no-pager", SERVICE).stdout.strip().splitlines()[-1].lstrip("→ ")
    systemctl("restart", SERVICE)
    serving()
    return f"a runtime that compiles works with it and not without; {exposure}"


@check
def a_person_has_one_of_their_own():
    account = pwd.getpwnam("person")
    runtime = Path(f"/run/user/{account.pw_uid}")
    # There is no login here: the manager is started by hand, without PAM.
    manager = f"user@{account.pw_uid}.service"
    write(Path(f"/run/systemd/system/{manager}.d/by-hand.conf"), f"[Service]\nPAMName=\nEnvironment=XDG_RUNTIME_DIR={runtime}\n")
    # The system service has the usual port, so this user chooses another.
    ports = "[Socket]\nListenStream=\nListenStream=127.0.0.1:9734\n"
    folder = Path("/home/person/.config/systemd/user/credenza.socket.d")
    write(folder / "port.conf", ports)
    run("chown", "-R", "person:person", "/home/person/.config")
    systemctl("daemon-reload")
    systemctl("start", manager)
    environment = environment_of("person")
    run("systemctl", "--user", "enable", "--now", SERVICE, user="person", env=environment)
    token = runtime / "credenza/token"
    kept = token.read_text()
    assert (token.owner(), token.stat().st_mode & 0o777, token.parent.stat().st_mode & 0o777) == ("person", 0o600, 0o700)
    run("systemctl", "--user", "restart", SERVICE, user="person", env=environment)
    command = ["curl", "-q", "-sS", "--fail", "-H", f"@{write_header(kept)}", "http://127.0.0.1:9734/credentials"]
    found = json.loads(run(*command).stdout)["AccessKeyId"]
    assert found == "AKIDPERSON" and token.read_text() == kept
    systemctl("stop", manager)
    return f"{found} from ~/.aws on 127.0.0.1:9734, the token theirs alone and kept"


def write_header(token: str) -> Path:
    path = Path("header").absolute()
    write(path, f"Authorization: {token}", 0o600)
    return path


# -- removed ----------------------------------------------------------------------------------------------------------


@check
def no_secret_is_in_the_journal():
    run("journalctl", "--sync")
    said = run("journalctl", "--no-pager", "--output", "export").stdout
    assert "AKIDPROFILE" in said or "configuration loaded" in said, "the journal is empty"
    for secret in (HUSH, HUSH.replace("/", "%2F"), TOKEN.read_text(), "container-authorization"):
        assert secret not in said, "a secret in the journal"
    return f"{len(said.splitlines())} lines"


@check
def removed_and_installed_again_it_serves():
    dpkg("--remove", "credenza-daemon", "credenza")
    assert not Path("/usr/bin/credenza").exists() and CONFIG.read_text() == GOOD
    assert show(SOCKET, "ActiveState") == "inactive"
    dpkg("--install", *packages())
    serving()
    # A service that an administrator has disabled stays disabled.
    systemctl("disable", "--now", SERVICE, SOCKET)
    dpkg("--install", *packages())
    states = [run("systemctl", what, unit, fails=True).stdout.strip() for unit in (SERVICE, SOCKET) for what in ("is-enabled", "is-active")]
    assert states == ["disabled", "inactive"] * 2, states
    systemctl("enable", "--now", SERVICE)
    serving()
    return "with the configuration it had; switched off, it stays off over an upgrade"


@check
def a_purge_leaves_nothing_of_ours():
    files = [Path(line) for line in dpkg("--listfiles", "credenza", "credenza-daemon").stdout.splitlines() if line]
    mine = ENVIRONMENT
    dpkg("--purge", "credenza-daemon", "credenza")
    left = [str(path) for path in files if path.exists() and not path.is_dir()]
    left += [str(path) for path in (TOKEN.parent, HOME, CONFIG) if path.exists()]
    left += [str(path) for path in Path("/etc/systemd").rglob("*credenza*") if path != DROPINS]
    left += [str(path) for path in Path("/var/lib/systemd").rglob("*credenza*")]
    assert not left, left
    listed = systemctl("list-units", "--all", "--plain", "--no-legend", "credenza*")
    assert not [line for line in listed.splitlines() if " active " in line], listed
    # Files that an administrator added are not removed.
    assert mine.exists()
    return f"{len(files)} files and folders, the token and the home are gone; {mine} stays"


@check
def an_upgrade_from_the_single_package_keeps_the_daemon():
    """Earlier versions had the units, the configuration and the scripts in the package of the program."""
    single = Path("single")
    run("dpkg-deb", "--extract", package("credenza-daemon"), str(single))
    run("dpkg-deb", "--raw-extract", package("credenza"), str(single))
    (single / "DEBIAN/preinst").unlink()
    run("dpkg-deb", "--control", package("credenza-daemon"), "scripts")
    for name in ("postinst", "prerm", "postrm", "conffiles"):
        run("cp", f"scripts/{name}", str(single / "DEBIAN"))
    control = single / "DEBIAN/control"
    lines = [f"{line}~single" if line.startswith("Version:") else line for line in control.read_text().splitlines()]
    control.write_text("\n".join(line for line in lines if not line.startswith("Suggests:")) + "\n")
    dpkg("--install", build(str(single)))
    write(HOME / ".aws/credentials", keys_file("AKIDPROFILE"), 0o600, "credenza", "credenza")
    run("chown", "-R", "credenza:credenza", str(HOME))
    write(CONFIG, '[identities.default]\nsources = ["profile"]\n', 0o640, group="credenza-config")
    systemctl("restart", SERVICE)
    serving()
    config, token, before = CONFIG.read_text(), TOKEN.read_text(), main_pid()
    with Load() as load:
        said = dpkg("--install", *packages())
        serving()
    assert "credenza-daemon now" in said.stderr + said.stdout, said
    assert (CONFIG.read_text(), CONFIG.group(), TOKEN.read_text()) == (config, "credenza-config", token)
    states = [systemctl(what, unit) for unit in (SOCKET, SERVICE) for what in ("is-enabled", "is-active")]
    assert states == ["enabled", "active"] * 2 and main_pid() != before, states
    assert show(SERVICE, "NeedDaemonReload") == "no"
    owners = run("dpkg", "--search", str(UNITS / SERVICE), str(CONFIG)).stdout
    assert owners.count("credenza-daemon:") == 2, owners
    dpkg("--purge", "credenza-daemon", "credenza")
    assert not CONFIG.exists() and not (UNITS / SERVICE).exists()
    return f"{load.answers} answers, the configuration and the token are the same"


@check
def the_tarball_serves_from_usr_local():
    [tarball] = Path(".").glob("credenza-*.tar.gz")
    run("tar", "--extract", "--no-same-owner", "--strip-components=1", "--directory=/usr/local", f"--file={tarball}")
    run("systemd-sysusers")
    write(HOME / ".aws/credentials", keys_file("AKIDPROFILE"), 0o600, "credenza", "credenza")
    run("chown", "-R", "credenza:credenza", str(HOME))
    ENVIRONMENT.unlink(missing_ok=True)
    systemctl("daemon-reload")
    systemctl("enable", "--now", SERVICE)
    serving()
    said = run("systemd-analyze", "--man=no", "verify", "/usr/local/lib/systemd/system/credenza.service")
    assert not said.stdout + said.stderr, said
    assert os.readlink(f"/proc/{main_pid()}/exe") == "/usr/local/bin/credenza"
    return f"{tarball}, without a credenza.toml"


def main() -> int:
    passed = failed = 0
    for function in CHECKS:
        name = function.__name__.replace("_", " ")
        began = time.monotonic()
        try:
            seen = function()
            passed += 1
            print(f"ok      {name} ({time.monotonic() - began:.1f} s): {seen}", flush=True)
        except Exception as failure:  # noqa: BLE001: the next check may still tell something
            failed += 1
            traceback.print_exc(limit=-3, file=sys.stdout)
            print(*journal().splitlines()[-12:], sep="\n")
            print(f"FAILED  {name}: {failure}", flush=True)
            if function is CHECKS[0]:
                print("without a package there is nothing to try")
                break
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    with endpoint, Imds(Credentials("ASIAIMDS", HUSH, HUSH, in_seconds(6 * 3600))) as metadata:
        sys.exit(main())
