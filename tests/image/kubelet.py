"""The parts of a kubelet that podman 4.3 lacks: volumes with owners and swaps, and sidecars that start first."""

import os
from copy import deepcopy
from pathlib import Path


class Projected:
    """A ConfigMap or Secret as a kubelet mounts it: files are symlinks through `..data`, and an update swaps that symlink."""

    def __init__(self, folder: Path, files: dict[str, str], mode: int, group: int):
        self.folder, self._mode, self._group, self._version = folder, mode, group, 0
        folder.mkdir()
        own(folder, 0o2755, group)
        self.swap(files)

    def swap(self, files: dict[str, str]) -> None:
        self._version += 1
        fresh = self.folder / f"..2026_01_01_00_00_00.{self._version}"
        fresh.mkdir()
        for name, text in files.items():
            (fresh / name).write_text(text)
            own(fresh / name, self._mode, self._group)
        own(fresh, 0o2755, self._group)
        data, aside = self.folder / "..data", self.folder / "..data_tmp"
        before = data.resolve() if data.is_symlink() else None
        aside.symlink_to(fresh.name)
        aside.replace(data)
        for name in files:
            if not (link := self.folder / name).is_symlink():
                link.symlink_to(f"..data/{name}")
        if before is not None:
            for file in before.iterdir():
                file.unlink()
            before.rmdir()


def own(path: Path, mode: int, group: int) -> None:
    """Owned by root and this group, as `fsGroup` does."""
    os.chown(path, 0, group)
    path.chmod(mode)


def lay_out(documents: list[dict], folder: Path) -> tuple[dict[str, Path], dict[str, Projected]]:
    """Returns host folders for all volumes of the Pod, by name, and the swappable ones."""
    pod = one(documents, "Pod")
    group = pod["spec"]["securityContext"]["fsGroup"]
    paths, projected = {}, {}
    for volume in pod["spec"]["volumes"]:
        name = volume["name"]
        paths[name] = folder / name
        if "emptyDir" in volume:
            paths[name].mkdir()
            own(paths[name], 0o2777, group)
            continue
        if "secret" in volume:
            files = one(documents, "Secret", volume["secret"]["secretName"])["stringData"]
            mode = volume["secret"].get("defaultMode", 0o644)
        else:
            files = one(documents, "ConfigMap", volume["configMap"]["name"])["data"]
            mode = volume["configMap"].get("defaultMode", 0o644)
        projected[name] = Projected(paths[name], files, mode, group)
    return paths, projected


def for_podman(pod: dict, paths: dict[str, Path]) -> dict:
    """The same Pod in the syntax of podman 4.3. The network of the test replaces the Pod's own."""
    pod = deepcopy(pod)
    spec = pod["spec"]
    group = spec["securityContext"].pop("fsGroup")
    [sidecar] = spec.pop("initContainers")
    assert sidecar.pop("restartPolicy") == "Always", "a native sidecar"
    del sidecar["startupProbe"], sidecar["livenessProbe"]
    spec["containers"].insert(0, sidecar)
    for container in spec["containers"]:
        container["imagePullPolicy"] = "Never"
        container["securityContext"]["runAsGroup"] = group
        # The tests do not own the control groups everywhere.
        del container["resources"]
    spec["volumes"] = [
        {"name": name, "hostPath": {"path": str(path), "type": "Directory"}} for name, path in paths.items()
    ]
    spec["hostNetwork"] = True
    spec["restartPolicy"] = "Never"
    return pod


def one(documents: list[dict], kind: str, name: str | None = None) -> dict:
    [found] = [one for one in documents if one["kind"] == kind and name in (None, one["metadata"]["name"])]
    return found
