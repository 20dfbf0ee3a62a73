"""One row of the table, a client and a way, as a process in a network namespace. `run.py` starts it.

The row is JSON on standard input; each cell is one line of JSON on standard output.
"""

import json
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import client  # noqa: E402
import namespace  # noqa: E402
from cells import CELLS  # noqa: E402
from columns import COLUMNS, Seen  # noqa: E402
from seaweedfs import Key  # noqa: E402
from session import Hung  # noqa: E402
from stage import EmptyToken, Stage, Wrong  # noqa: E402
from ways import WAYS  # noqa: E402

EMPTY_TOKEN = "signs an empty X-Amz-Security-Token, which AWS refuses"
NO_TOKEN_HERE = "there is no token to be wrong"
# Columns of two calls, without a wait.
CHEAP = ("long-lived", "temporary")
UNKNOWN = 20.0
NO_LEASE_HERE = "a lease without a session token is not served over IMDS"


@dataclass
class Cell:
    column: str
    result: str
    reason: str = ""
    remark: str = ""
    said: str = ""
    seconds: float = 0.0


class Row:
    """`told` comes from run.py: client, way, columns, keys of each column, and addresses."""

    def __init__(self, told: dict):
        self.client = client.load(told["client"])
        self.way = WAYS[told["way"]]
        self.told = told
        self.folder = Path(told["folder"])

    def cell(self, column: str) -> Cell:
        began = time.monotonic()
        cell = self._judge(column)
        cell.seconds = time.monotonic() - began
        return cell

    def _judge(self, column: str) -> Cell:
        if column not in COLUMNS:
            return self._run(column)
        given = self.client.reason(self.way.name, column)
        if given is not None and given.key == f"{self.way.name}/*":
            return self._unknown_way(column, given.text)
        if self.way.name == "imds" and column in ("wrong-token", "long-lived"):
            return Cell(column, "n/a", NO_TOKEN_HERE if column == "wrong-token" else NO_LEASE_HERE)
        if given is None:
            return self._run(column)
        if column not in CHEAP:
            return Cell(column, "n/a", given.text)
        # The cell runs anyway: a reason is valid only while it is true. A reason for every way may be untrue of some.
        tried = self._run(column)
        if tried.result == "works":
            if given.key.startswith("*/"):
                return tried
            return Cell(column, "FAILED", f"client.toml says n/a ({given.text}), but it works")
        if "empty" in given.text and tried.reason != EMPTY_TOKEN:
            return tried
        return Cell(column, "n/a", given.text, remark=tried.reason)

    def _unknown_way(self, column: str, text: str) -> Cell:
        """One short cell shows if the client really does not support this way."""
        if column == "temporary":
            tried = self._run(column, patience=UNKNOWN)
            if tried.result == "works":
                return Cell(column, "FAILED", f"client.toml says n/a ({text}), but it works")
        return Cell(column, "n/a", text)

    def _run(self, column: str, patience: float | None = None) -> Cell:
        run, _keys = CELLS[column]
        keys = [Key(**key) for key in self.told["keys"][column]]
        binary, s3, moto = (Path(self.told[name]) for name in ("binary", "s3", "moto"))
        stage = Stage(self.client, self.way, self.folder / column, binary, s3, moto, self.told["bucket"])
        try:
            with stage:
                stage.patience = patience or stage.patience
                seen: Seen = run(stage, *keys)
            return Cell(column, "works", remark=seen.remark, said=seen.said)
        except EmptyToken:
            return Cell(column, "FAILED", EMPTY_TOKEN)
        except (Wrong, Hung, AssertionError) as error:
            return Cell(column, "FAILED", str(error))
        except Exception as error:  # noqa: BLE001: whatever it is belongs to this cell, and the next one has its turn
            (self.folder / column / "traceback").write_text(traceback.format_exc())
            return Cell(column, "FAILED", f"{type(error).__name__}: {error}")


def main() -> int:
    told = json.loads(sys.stdin.readline())
    if told["namespace"]:
        namespace.own_addresses()
    row = Row(told)
    for column in told["columns"]:
        print(json.dumps(asdict(row.cell(column))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
