"""The results of a run: a table for the terminal, docs/CLIENTS.md, and the symptoms in docs/TROUBLESHOOTING.md."""

import re
import subprocess
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import storm
from caller_identity import STS
from client import Client
from columns import COLUMNS
from grants import ENDED, NARROWED, REVOKED
from row import Cell
from ways import WAYS


@dataclass
class Results:
    cells: dict[tuple[str, str, str], Cell] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)

    def count(self, result: str) -> int:
        return sum(cell.result == result for cell in self.cells.values())

    def failed(self, skipped_too: bool) -> int:
        return self.count("FAILED") + len(self.broken) + (len(self.skipped) if skipped_too else 0)

    def of(self, client: Client, way: str, columns: list[str]) -> list[Cell]:
        return [self.cells[client.name, way, column] for column in columns if (client.name, way, column) in self.cells]


def text(results: Results, clients: list[Client], ways: list[str], columns: list[str]) -> str:
    lines = ["  ".join([f"{'':14}", *[f"{way:16}" for way in ways]]).rstrip()]
    for it in clients:
        lines.append("  ".join([f"{it.name:14}", *[f"{_short(results.of(it, way, columns)):16}" for way in ways]]).rstrip())
    for (name, way, column), cell in sorted(results.cells.items()):
        if cell.result == "FAILED":
            lines.append(f"FAILED {name} {way} {column}: {cell.reason}")
    lines += [f"NOT INSTALLED {name}: {words}" for name, words in results.broken.items()]
    lines += [f"!!! did not run: {what}" for what in results.skipped]
    lines.append(f"{results.count('n/a')} cells are n/a")
    return "\n".join(lines)


def _short(cells: list[Cell]) -> str:
    if not cells:
        return "-"
    words = [f"{sum(cell.result == result for cell in cells)} {result}" for result in ("works", "n/a", "FAILED")]
    return ", ".join(word for word in words if not word.startswith("0 "))


BEGIN, END = "<!-- made by make matrix: begin -->", "<!-- made by make matrix: end -->"
LONGEST_SYMPTOM = 160
GRANTS_TITLE = "## Session policies and grants"

# The AWS CLI adds details of the machine to its version.
MACHINE = re.compile(r" Linux/.*")

# Parts that change from run to run, and their placeholders.
CHANGING = [
    (re.compile(r"/[^\s'\":,]*credenza-matrix-[^\s'\":,]*"), "…"),
    (re.compile(r"(127\.0\.0\.1|localhost):\d+"), r"\1:PORT"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?|\d{4}/\d\d/\d\d \d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"next try in \d+ s"), "next try in N s"),
    (re.compile(r"0x[0-9a-f]{6,}"), "0x…"),
    (re.compile(r"\b\d+\.\d+(ms|µs|s)\b"), r"N \1"),
    (re.compile(r"Request ?ID: [0-9A-F]{16,}"), "Request ID: ID"),
]
# Codes of the broker that these cells may show.
CODES = ["InvalidAuthorizationToken", "LoginRequired"]
# The symptoms of each column, and their remedies.
REMEDIES = {
    "wrong-token": (
        "The auth token is wrong",
        "`eval \"$(credenza env)\"` in the shell of the program names the token file of the daemon. After a grant has ended, give another: "
        "`credenza grant`.",
    ),
    "login-required": (
        "A login has expired",
        "`credenza status` names the login. `credenza login --sso-session NAME` renews it.",
    ),
}
EITHER = "These programs hide the cause. Try the first remedy, then the second."


def document(results: Results, clients: list[Client], binary: Path) -> str:
    """Returns docs/CLIENTS.md: the results of this run, with versions."""
    version = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=True).stdout.strip()
    notes: list[str] = []
    lines = [
        "# Clients",
        "",
        "Real clients on every way to the broker, each cell a run against an S3 that verifies signatures and session tokens.",
        f"Made by `make matrix` on {date.today():%Y-%m-%d} with {version}; not written by hand.",
        "",
        "| client | version |",
        "|---|---|",
        *[f"| {it.title} | {_cell(MACHINE.sub('', it.version))} |" for it in clients],
        "",
        "The columns: long-lived keys (L), temporary keys (T), rotation while the client runs (R), a restart of the broker (B),",
        "expiry and recovery (H), a wrong token (W) and an expired login (S). The last two fail, with a message for the user.",
        "✓ means all of them; otherwise the letters that work, and the notes say why the others cannot. With env, each call is a",
        "new program with the variables of `credenza get`.",
        "",
        f"| client | {' | '.join(WAYS)} |",
        f"|---|{'---|' * len(WAYS)}",
    ]
    for it in clients:
        shown = [_works(results.of(it, way, list(COLUMNS)), notes) for way in WAYS]
        lines.append(f"| {it.title} | {' | '.join(shown)} |")
    lines += ["", *[f"{number}. {note}" for number, note in enumerate(notes, 1)], "", "## What the user sees", ""]
    for column, words in (("wrong-token", "A wrong token"), ("login-required", "An expired login")):
        lines += [f"{words}, on the way full-uri:", "", "| client | it says |", "|---|---|"]
        for it in clients:
            if (cell := results.cells.get((it.name, "full-uri", column))) is not None and cell.said:
                lines.append(f"| {it.title} | {_cell(_steady(cell.said))} |")
        lines.append("")
    return "\n".join([*lines, *_storms(results, clients), *_identities(results, clients), *_grants(results, clients)])


def _storms(results: Results, clients: list[Client]) -> list[str]:
    """Returns the results of the storm."""
    lines = [
        "## In a storm",
        "",
        "Calls without a pause while the broker is restarted behind a socket, reloaded (also with an unreadable file) and cut off",
        "from its source, in random order. Its lease is valid all the time: no call may fail.",
        "",
        f"| client | {' | '.join(storm.WAYS)} |",
        f"|---|{'---|' * len(storm.WAYS)}",
    ]
    for it in clients:
        shown = []
        for way in storm.WAYS:
            if (cell := results.cells.get((it.name, way, storm.STORM))) is None:
                continue
            shown.append(_cell(cell.remark if cell.result == "works" else f"FAILED: {_steady(cell.reason)}"))
        if shown:
            lines.append(f"| {it.title} | {' | '.join(shown)} |")
    return [*lines, ""]


def _identities(results: Results, clients: list[Client]) -> list[str]:
    """Returns the clients' identities according to STS."""
    lines = [
        "## At STS",
        "",
        "The broker assumes a role at moto, which verifies signatures and session tokens. The client calls GetCallerIdentity there",
        "with the credentials that it was served.",
        "",
        "| client | way | it is |",
        "|---|---|---|",
    ]
    for it in clients:
        if it.sts is not None and (cell := results.cells.get((it.name, it.sts, STS))) is not None:
            said = cell.remark if cell.result == "works" else f"FAILED: {_steady(cell.reason)}"
            lines.append(f"| {it.title} | {it.sts} | {_cell(said)} |")
    return [*lines, ""]


def _grants(results: Results, clients: list[Client]) -> list[str]:
    """Returns the behaviour of clients under a session policy, and after a grant."""
    with_grants = [it for it in clients if it.grants is not None]
    lines = [
        GRANTS_TITLE,
        "",
        "The broker assumes a role at the STS of SeaweedFS. A client of `[clients]` and a grant have a session policy that allows",
        "only to read: a GET works, and for a PUT the client says:",
        "",
        "| client | a PUT that the session policy does not allow |",
        "|---|---|",
    ]
    for it in with_grants:
        if (cell := results.cells.get((it.name, it.grants, NARROWED))) is not None:
            lines.append(f"| {it.title} | {_cell(_told(cell))} |")
    lines += [
        "",
        "A grant is revoked, or ends by its time, while the program runs. None of them signs with its keys after their `Expiration`,",
        "which is never later than the end of the grant. Most keep them until shortly before, and learn of a revocation only then:",
        "`credenza revoke` prints the policy that ends such keys at AWS at once. The last column is the error of the next call, which",
        "asks the broker again and gets a 401.",
        "",
        "| client | after `credenza revoke` | after the end of the grant | it says |",
        "|---|---|---|---|",
    ]
    for it in with_grants:
        cells = [results.cells.get((it.name, it.grants, column)) for column in (REVOKED, ENDED)]
        if all(cells):
            said = list(dict.fromkeys(_told(cell) for cell in cells if cell.result == "works"))
            shown = [_cell_with_code(cell.remark) if cell.result == "works" else _cell(_told(cell)) for cell in cells]
            lines.append(f"| {it.title} | {' | '.join(shown)} | {_cell(' or: '.join(said))} |")
    return [*lines, ""]


def _told(cell: Cell) -> str:
    return _steady(cell.said if cell.result == "works" else f"FAILED: {cell.reason}")


def rewrite(document: Path, results: Results, clients: list[Client]) -> None:
    """Writes the symptoms between the marks of the document: a table for each remedy, equal symptoms in one line."""
    seen: dict[str, tuple[list[str], list[str]]] = {}
    for column in REMEDIES:
        for it in clients:
            cell = results.cells.get((it.name, "full-uri", column))
            if cell is not None and cell.said:
                titles, columns = seen.setdefault(_symptom(cell.said), ([], []))
                titles += [it.title] if it.title not in titles else []
                columns += [column] if column not in columns else []
    groups: dict[tuple[str, ...], list[str]] = {}
    for symptom, (titles, columns) in seen.items():
        groups.setdefault(tuple(columns), []).append(f"| {_cell(symptom)} | {', '.join(titles)} |")
    lines = []
    for columns in sorted(groups, key=len):
        remedies = [REMEDIES[column] for column in columns]
        lines += [f"### {', or '.join(_lower(title) if at else title for at, (title, _) in enumerate(remedies))}", ""]
        lines += [" ".join([*([EITHER] if len(remedies) > 1 else []), *[remedy for _, remedy in remedies]]), ""]
        lines += ["| the program says | client |", "|---|---|", *groups[columns], ""]
    before, _, rest = document.read_text().partition(BEGIN)
    _, marked, after = rest.partition(END)
    if not marked:
        raise ValueError(f"{document}: the marks {BEGIN} and {END} are missing")
    document.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"{END}{after}")


def _lower(title: str) -> str:
    return title[0].lower() + title[1:]


def _symptom(said: str) -> str:
    """The start of the text, to search a log for; with the code of the broker if that comes later."""
    text = _steady(said).removeprefix("error: ").removeprefix("TIME ERROR : ")
    if len(text) <= LONGEST_SYMPTOM:
        return text
    front = text[:LONGEST_SYMPTOM].rsplit(" ", 1)[0]
    code = next((code for code in CODES if code in text and code not in front), None)
    return f"{front} … {code} …" if code else f"{front} …"


def _works(cells: list[Cell], notes: list[str]) -> str:
    letters = dict(zip(COLUMNS, "LTRBHWS", strict=True))
    good = "".join(letters[cell.column] for cell in cells if cell.result == "works")
    words = "✓" if len(good) == len(COLUMNS) else good or "–"
    numbers = set()
    for cell in cells:
        if cell.result == "works":
            continue
        note = cell.reason if cell.result == "n/a" else f"FAILED: {_steady(cell.reason)}"
        if note not in notes:
            notes.append(note)
        numbers.add(notes.index(note) + 1)
    return f"{words} <sup>{', '.join(map(str, sorted(numbers)))}</sup>" if numbers else words


def _steady(text: str) -> str:
    for pattern, word in CHANGING:
        text = pattern.sub(word, text)
    return " ".join(text.split())


def _cell(text: str) -> str:
    """Text that cannot break out of its cell."""
    return _cell_with_code(text).replace("`", "'")


def _cell_with_code(text: str) -> str:
    """The same with the code marks of our own words."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
