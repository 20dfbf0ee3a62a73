"""podman and buildah with their own storage, state and settings: those of the machine are neither used nor changed."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE = 120.0


class Engine:
    """A context manager; all its containers, volumes and images are removed at the end."""

    def __init__(self) -> None:
        # A short path, because sockets are created below it.
        self.directory = Path(tempfile.mkdtemp(prefix="credenza-image-"))
        self._settings = self.directory / "containers.conf"
        # podman would set a sysctl of the host if a network namespace is joined.
        self._settings.write_text("[containers]\ndefault_sysctls = []\n")
        self._storage = [
            "--root", str(self.directory / "root"), "--runroot", str(self.directory / "run"), "--storage-driver", "vfs",
        ]  # fmt: skip

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_exception) -> None:
        self.podman("pod", "rm", "--all", "--force", "--time", "1", check=False)
        self.podman("rm", "--all", "--force", "--time", "1", check=False)
        self.podman("volume", "rm", "--all", "--force", check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def podman_command(self, *arguments: str) -> list[str]:
        return [
            "podman", *self._storage, "--tmpdir", str(self.directory / "tmp"), "--runtime", str(HERE / "runc-norlimit"),
            "--cgroup-manager", "cgroupfs", "--log-level", "error", *arguments,
        ]  # fmt: skip

    @property
    def variables(self) -> dict[str, str]:
        return os.environ | {"CONTAINERS_CONF": str(self._settings)}

    def podman(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        return self.run(self.podman_command(*arguments), check)

    def build(self, tag: str, dockerfile: Path, context: Path, *arguments: str) -> None:
        self.run(
            ["buildah", *self._storage, "bud", "--format", "docker", "--isolation", "chroot", "--pull-never", *arguments,
             "--tag", tag, "--file", str(dockerfile), str(context)]
        )  # fmt: skip

    def exit_code(self, container: str) -> int:
        """Of a container that has ended."""
        status, code = self.inspect(container, "{{.State.Status}} {{.State.ExitCode}}").split()
        assert status == "exited", f"{container} is {status}"
        return int(code)

    def inspect(self, container: str, form: str) -> str:
        return self.podman("inspect", "--format", form, container).stdout.strip()

    def logs(self, container: str) -> str:
        said = self.podman("logs", container, check=False)
        return said.stdout + said.stderr

    def run(self, command: list[str], check: bool = True) -> subprocess.CompletedProcess:
        # From a folder without an entry named like an image: podman 4.3 would take it for a build context.
        done = subprocess.run(
            command, env=self.variables, cwd=self.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=PATIENCE,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done
