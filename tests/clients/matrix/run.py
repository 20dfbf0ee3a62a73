"""`make matrix`: real clients × ways × behaviours, each cell a run of its own, and one table at the end.

    .venv/bin/python tests/clients/matrix/run.py [--six [--brief]] [--clients a,b] [--ways …] [--columns …] [--jobs N]

A row is a client on one way. Rows run in parallel, each in a network namespace (see namespace.py). The output of a
failed cell's client and broker stays in a folder. Needs CREDENZA_BIN. With CI=true a client or way that cannot run is a
failure.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import client  # noqa: E402
import namespace  # noqa: E402
import table  # noqa: E402
from cells import CELLS, has, is_brief  # noqa: E402
from client import Client, Missing, NotInstalled  # noqa: E402
from counterparts import BUCKET, Counterparts  # noqa: E402
from row import Cell  # noqa: E402
from table import Results  # noqa: E402
from ways import WAYS, needs_address  # noqa: E402

HERE = Path(__file__).resolve().parent
IN_CI = os.environ.get("CI") == "true"
INSTALLERS = 2


class Runner:
    """Shared by all rows."""

    def __init__(self, given: argparse.Namespace, binary: Path, folder: Path):
        self.given, self.binary, self.folder = given, binary, folder
        self.before = namespace.command()
        self.results = Results()
        self._speech = threading.Lock()
        self._done = self._all = 0

    def say(self, line: str) -> None:
        with self._speech:
            if sys.stdout.isatty():
                print(f"\r\x1b[K{line}\n{self._done} of {self._all} cells", end="", flush=True)
            else:
                print(line, flush=True)

    def skip(self, what: str) -> None:
        self.results.skipped.append(what)
        self.say(f"!!! does NOT run: {what}")

    def install(self, wanted: list[Client]) -> list[Client]:
        def one(it: Client) -> bool:
            try:
                seconds = it.install(self.folder / f"install-{it.name}.log")
            except Missing as missing:
                self.skip(f"{it.title} (missing here: {missing})")
                return False
            except NotInstalled as error:
                self.results.broken[it.name] = str(error)
                self.say(f"{it.name:14} NOT INSTALLED: {error}")
                return False
            self.say(f"{it.name:14} {it.version} ({seconds:.1f} s)")
            return True

        with ThreadPoolExecutor(INSTALLERS) as pool:
            fine = list(pool.map(one, wanted))
        return [it for it, installed in zip(wanted, fine, strict=True) if installed]

    def rows(self, clients: list[Client], there: Counterparts) -> None:
        pairs = [(it, way) for way in self.given.ways for it in clients if self.columns(it, way)]
        # The longest rows start first, so that no other row waits for them at the end.
        pairs.sort(key=lambda pair: -pair[0].lease.get(pair[1], 0))
        if self.before is None:
            lacking = [pair for pair in pairs if needs_address(WAYS[pair[1]], pair[0].imds)]
            for way in sorted({way for _, way in lacking}):
                self.skip(f"{way} at an address of its own (no network namespace: needs root or user namespaces, and ip)")
            pairs = [pair for pair in pairs if pair not in lacking]
        self._all = sum(len(self.columns(*pair)) for pair in pairs)
        with ThreadPoolExecutor(self.given.jobs) as pool:
            for done in [pool.submit(self.row, it, way, there) for it, way in pairs]:
                done.result()

    def columns(self, it: Client, way: str) -> list[str]:
        return [
            column
            for column in self.given.columns
            if has(it, way, column) and (is_brief(way, column) or not self.given.brief)
        ]

    def row(self, it: Client, way: str, there: Counterparts) -> None:
        folder = self.folder / it.name / way
        folder.mkdir(parents=True)
        columns = self.columns(it, way)
        told = {
            "client": it.name,
            "way": way,
            "columns": columns,
            "keys": {column: there.keys(column) for column in columns},
            "folder": str(folder),
            "binary": str(self.binary),
            "s3": str(there.s3),
            "moto": str(there.moto),
            "bucket": BUCKET,
            "namespace": self.before is not None,
        }
        command = [*(self.before or []), sys.executable, str(HERE / "row.py")]
        with (folder / "row.err").open("w") as errors:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
            process.stdin.write(json.dumps(told) + "\n")
            process.stdin.close()
            left = list(columns)
            for line in process.stdout:
                cell = Cell(**json.loads(line))
                left.remove(cell.column)
                self._record(it, way, cell)
            process.wait()
        for column in left:
            words = " ".join((folder / "row.err").read_text().split())[-600:]
            self._record(it, way, Cell(column, "FAILED", f"the row ended with {process.returncode}: {words}"))

    def _record(self, it: Client, way: str, cell: Cell) -> None:
        self.results.cells[it.name, way, cell.column] = cell
        self._done += 1
        tail = cell.reason if cell.result != "works" else cell.remark
        self.say(f"{it.name:14} {way:13} {cell.column:15} {cell.result:7}{cell.seconds:6.1f} s  {tail}".rstrip())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="real clients × ways in × what has to work")
    words = {"type": lambda text: text.split(",")}
    parser.add_argument("--six", action="store_true", help="the six most used clients")
    parser.add_argument("--brief", action="store_true", help="only the cells of `make test`")
    parser.add_argument("--clients", **words, help=f"of {', '.join(client.names())}")
    parser.add_argument("--ways", **words, default=list(WAYS), help=f"of {', '.join(WAYS)}")
    parser.add_argument("--columns", **words, default=list(CELLS), help=f"of {', '.join(CELLS)}")
    parser.add_argument("--jobs", type=int, default=6, help="rows beside each other; they mostly wait")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the table there (a run of everything only)")
    parser.add_argument("--troubleshooting", type=Path, metavar="FILE", help="rewrite the symptoms between the marks there")
    given = parser.parse_args()
    for asked, known in ((given.clients or [], client.names()), (given.ways, list(WAYS)), (given.columns, list(CELLS))):
        if unknown := set(asked) - set(known):
            parser.error(f"{', '.join(sorted(unknown))}: none of {', '.join(known)}")
    given.part = bool(given.six or given.brief or given.clients or given.ways != list(WAYS) or given.columns != list(CELLS))
    if given.part and (given.write or given.troubleshooting):
        parser.error("--write and --troubleshooting take a run of everything")
    return given


def main() -> int:
    given = arguments()
    binary = Path(os.environ.get("CREDENZA_BIN", "")).resolve()
    if not binary.is_file():
        print("CREDENZA_BIN names no program", file=sys.stderr)
        return 2
    wanted = [it for it in map(client.load, given.clients or client.names()) if it.six or not given.six]
    wanted.sort(key=lambda it: (not it.six, it.title.lower()))
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="credenza-matrix-"))
    runner = Runner(given, binary, folder)
    clients = runner.install(wanted)
    with Counterparts(folder) as there:
        runner.rows(clients, there)
    shutil.rmtree(folder / "seaweedfs", ignore_errors=True)
    if sys.stdout.isatty():
        print("\r\x1b[K", end="")
    results = runner.results
    print("\n" + table.text(results, clients, given.ways, given.columns))
    if given.write:
        given.write.write_text(table.document(results, clients, binary))
    if given.troubleshooting:
        table.rewrite(given.troubleshooting, results, clients)
    failed = results.failed(IN_CI)
    print(f"{time.monotonic() - began:.0f} s")
    if failed:
        print(f"what they said is in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{results.count('works')} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
