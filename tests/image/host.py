"""A host of its own for the recipes: a network, /etc, /run, /home and users, in which blocks of the documents run as printed."""

import ctypes
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import program
from engine import Engine
from programs import until

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000  # sched.h
USERS = {"credenza": 990, "ann": 1000}
BINARIES = "/run/bin"
PATH = f"{BINARIES}:{sys.prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MOUNTS = """
while [ $# -gt 0 ]; do mount --rbind "$1" "$2"; shift 2; done
ip link set lo up
echo ready
exec sleep infinity
"""
# What programs of all users of the host need: Python, the tests, and what they install.
NEEDED = [*program.mounts(), Path(__file__).parent]


class Namespace:
    """Network namespaces, which end with the test."""

    def __init__(self, command: list[str]):
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout.readline() == "ready\n", "no namespace: see the error above"
        self.pid = self._process.pid
        self.network = f"/proc/{self.pid}/ns/net"

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def serve_here(self, make: Callable):
        """Makes a server that listens in this network."""
        made = []

        def enter_and_make() -> None:
            # Of this thread alone, which ends; the socket stays in the network.
            with open(self.network) as network:
                assert LIBC.setns(network.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            made.append(make())

        thread = threading.Thread(target=enter_and_make)
        thread.start()
        thread.join()
        return made[0]

    def enter(self, *command: str, check: bool = True) -> subprocess.CompletedProcess:
        """Runs a program of this machine in this network."""
        return subprocess.run(
            ["nsenter", f"--net={self.network}", *command], capture_output=True, text=True, check=check, timeout=60
        )

    def ip(self, words: str) -> None:
        self.enter("ip", *words.split())


class Host(Namespace):
    """A context manager. Its programs are `credenza`, `aws` and `docker`, which is podman."""

    def __init__(self, folder: Path, binary: Path, engine: Engine | None = None):
        self._folder, self._engine, self._boxes = folder, engine, []
        folder.chmod(0o755)
        shutil.copytree("/etc", folder / "etc", symlinks=True, ignore_dangling_symlinks=True)
        for name, user in USERS.items():
            self._add(name, user)
        binaries = folder / "run" / "bin"
        for made in (binaries, folder / "etc" / "credenza"):
            made.mkdir(parents=True)
        shutil.copy(binary, binaries / "credenza")

    def __enter__(self) -> "Host":
        command = ["unshare", "--mount", "--propagation", "private", "--net", "sh", "-euc", MOUNTS, "sh"]
        super().__init__([*command, *self._mounts()])
        return self

    def __exit__(self, *_exception) -> None:
        for box in self._boxes:
            box.end()
        self.end()

    def _mounts(self) -> list[str]:
        """Pairs of what to mount and where. Every user reaches what is needed, even in the closed home of another user."""
        covers = {Path("/") / name: self._folder / name for name in ("etc", "run", "home")}
        pairs = []
        for path in NEEDED:
            above = next((one for one in reversed(path.parents) if one in covers or one.stat().st_mode & 0o001 == 0), None)
            if above is not None:
                inside = covers.setdefault(above, self._folder / f"cover{len(covers)}") / path.relative_to(above)
                inside.mkdir(parents=True)
                pairs += [str(path), str(inside)]
        for above, cover in covers.items():
            pairs += [str(cover), str(above)]
        return pairs

    def _add(self, name: str, user: int) -> None:
        for file, line in {"passwd": f"{name}:x:{user}:{user}::/home/{name}:/bin/sh", "group": f"{name}:x:{user}:"}.items():
            path = self._folder / "etc" / file
            others = [other for other in path.read_text().splitlines() if not other.startswith(f"{name}:")]
            path.write_text("\n".join([*others, line]) + "\n")
        home = self._folder / "home" / name
        home.mkdir(parents=True, mode=0o700)
        os.chown(home, user, user)

    def _script(self, name: str, text: str) -> None:
        file = self._folder / "run" / "bin" / name
        file.write_text(text)
        file.chmod(0o755)

    def _command(self, user: str, variables: dict[str, str], command: list[str]) -> list[str]:
        home = f"/home/{user}" if user in USERS else "/run"
        base = {"PATH": PATH, "HOME": home, "LANG": "C.UTF-8", "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
        if user == "ann":
            base["XDG_RUNTIME_DIR"] = f"/run/user/{USERS[user]}"
        words = [f"{name}={value}" for name, value in (base | variables).items()]
        inside = ["nsenter", f"--net={self.network}", f"--mount=/proc/{self.pid}/ns/mnt"]
        as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        return [*inside, "env", "--ignore-environment", f"--chdir={home}", *words, *as_user, *command]

    def run(self, script: str, user: str = "root", check: bool = True, **variables: str) -> subprocess.CompletedProcess:
        """Runs a block of a document, as printed."""
        command = self._command(user, variables, ["sh", "-euc", script])
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, f"{script}\nended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def command(self, *command: str) -> list[str]:
        """The command of a program of root here."""
        return self._command("root", {}, list(command))

    @contextmanager
    def serve(self, configuration: str, user: str = "credenza", **variables: str) -> Iterator[None]:
        """A daemon of this user, ready to serve."""
        if user == "credenza":
            file, runtime = "/etc/credenza/credenza.toml", "/run/credenza"
            variables |= {"RUNTIME_DIRECTORY": runtime}
        else:
            file, runtime = f"/home/{user}/.config/credenza/credenza.toml", f"/run/user/{USERS[user]}"
        owner = USERS[user]
        made = self.path(file)
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(configuration)
        os.chown(made, owner, owner)
        folder = self.path(runtime)
        folder.mkdir(parents=True, mode=0o750)
        os.chown(folder, owner, owner)
        log = self._folder / f"{user}.log"
        with log.open("wb") as output:
            command = self._command(user, variables, ["credenza", "serve"])
            daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            until("the daemon answers or has ended", lambda: b"ready to answer" in log.read_bytes() or daemon.poll() is not None)
            assert daemon.poll() is None, "the daemon has ended"
            until("it has credentials", lambda: self.run("credenza status --ready", user, check=False).returncode == 0)
            yield
        finally:
            daemon.terminate()
            daemon.wait(20)
            print(f"--- what the daemon logged\n{log.read_text(errors='replace')}")

    def path(self, inside: str) -> Path:
        """The path of a file of the host for the tests."""
        return self._folder / inside.removeprefix("/")

    def bridge(self, name: str, address: str) -> None:
        """A bridge as container engines make it."""
        self.ip(f"link add {name} type bridge")
        self.ip(f"address add {address} dev {name}")
        self.ip(f"link set {name} up")

    def box(self, address: str, gateway: str, bridge: str | None = None) -> Namespace:
        """The network of a container on this bridge, or without one of another machine at a link of this host."""
        box = Namespace(["unshare", "--net", "sh", "-euc", "ip link set lo up; echo ready; exec sleep infinity"])
        self._boxes.append(box)
        link = f"veth{len(self._boxes)}"
        self.ip(f"link add {link} type veth peer name eth0 netns {box.pid}")
        if bridge is None:
            self.ip(f"address add {gateway}/{address.partition('/')[2]} dev {link}")
        else:
            self.ip(f"link set {link} master {bridge}")
        self.ip(f"link set {link} up")
        box.ip(f"address add {address} dev eth0")
        box.ip("link set eth0 up")
        box.ip(f"route add default via {gateway}")
        return box

    def containers_on(self, box: Namespace) -> None:
        """Makes `docker`: its containers have this network unless they name another, and the programs of this machine."""
        settings = self._folder / "containers.conf"
        volumes = [f"{mount}:{mount}:ro" for mount in program.mounts()]
        environment = [f"{name}={value}" for name, value in program.VARIABLES.items()]
        settings.write_text(
            f'[containers]\ndefault_sysctls = []\nnetns = "ns:{box.network}"\nvolumes = {volumes!r}\nenv = {environment!r}\n'
        )
        command = shlex.join(self._engine.podman_command())
        self._script("docker", f'#!/bin/sh\nCONTAINERS_CONF={settings} exec {command} "$@"\n')
