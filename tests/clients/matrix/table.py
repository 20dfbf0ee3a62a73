"""What the runs came to: a table for the terminal, docs/CLIENTS.md, and the symptoms in the README."""

import re
import subprocess
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import storm
from caller_identity import STS
from client import Client
from columns import COLUMNS
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

# What the AWS CLI tells of the machine beside its version.
MACHINE = re.compile(r" Linux/.*")

# What changes from run to run, and what stands for it.
CHANGING = [
    (re.compile(r"/[^\s'\":,]*credenza-matrix-[^\s'\":,]*"), "…"),
    (re.compile(r"(127\.0\.0\.1|localhost):\d+"), r"\1:PORT"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?|\d{4}/\d\d/\d\d \d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"next try in \d+ s"), "next try in N s"),
    (re.compile(r"0x[0-9a-f]{6,}"), "0x…"),
    (re.compile(r"\b\d+\.\d+(ms|µs|s)\b"), r"N \1"),
    (re.compile(r"Request ID: [0-9A-F]{16,}"), "Request ID: ID"),
]
# Codes of the broker that these cells may show.
CODES = ["InvalidAuthorizationToken", "LoginRequired"]
ADVICE = {
    "wrong-token": "the token is not the broker's: `eval \"$(credenza env)\"` names its token file",
    "login-required": "a log-in has ended: `credenza status` says which, `credenza login --sso-session NAME` renews it",
}


def document(results: Results, clients: list[Client], binary: Path) -> str:
    """docs/CLIENTS.md: what worked at this run, with versions."""
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
        "The columns: long-lived keys (L), temporary keys (T), rotation while it runs (R), the broker restarted (B), expired and",
        "healed (H), a wrong token (W) and an ended log-in (S), which fail with words for the user. ✓ all of them, else what works,",
        "and the notes say why the others cannot. On the way env each call is a program of its own, fed by `credenza get`: nothing",
        "there goes on from one call to the next.",
        "",
        f"| client | {' | '.join(WAYS)} |",
        f"|---|{'---|' * len(WAYS)}",
    ]
    for it in clients:
        shown = [_works(results.of(it, way, list(COLUMNS)), notes) for way in WAYS]
        lines.append(f"| {it.title} | {' | '.join(shown)} |")
    lines += ["", *[f"{number}. {note}" for number, note in enumerate(notes, 1)], "", "## What the user sees", ""]
    for column, words in (("wrong-token", "A wrong token"), ("login-required", "An ended log-in")):
        lines += [f"{words}, on the way full-uri:", "", "| client | it says |", "|---|---|"]
        for it in clients:
            if (cell := results.cells.get((it.name, "full-uri", column))) is not None and cell.said:
                lines.append(f"| {it.title} | {_cell(_steady(cell.said))} |")
        lines.append("")
    return "\n".join([*lines, *_storms(results, clients), *_identities(results, clients)])


def _storms(results: Results, clients: list[Client]) -> list[str]:
    """What the storm left, with what was left out of it and why."""
    lines = [
        "## In a storm",
        "",
        "A call after another while the broker, behind a socket that outlives it, is restarted, reloaded (also with a file that",
        "cannot be read) and starved of its upstream in an order of chance. Its lease is good all the time: no call may fail.",
        "",
        f"| client | {' | '.join(storm.WAYS)} |",
        f"|---|{'---|' * len(storm.WAYS)}",
    ]
    reasons = []
    for it in clients:
        shown = []
        for way in storm.WAYS:
            if (cell := results.cells.get((it.name, way, storm.STORM))) is None:
                continue
            shown.append(_cell(cell.remark if cell.result == "works" else f"FAILED: {_steady(cell.reason)}"))
            if (without := it.reason(way, storm.STORM)) is not None:
                reasons.append(f"{it.title}, {way}: {without.text}.")
        if shown:
            lines.append(f"| {it.title} | {' | '.join(shown)} |")
    return [*lines, "", *reasons, ""]


def _identities(results: Results, clients: list[Client]) -> list[str]:
    """Who the clients are for STS."""
    lines = [
        "## At STS",
        "",
        "The broker assumes a role at moto, which verifies signatures and session tokens; the client asks moto who it is, with",
        "GetCallerIdentity and what it was served.",
        "",
        "| client | way | it is |",
        "|---|---|---|",
    ]
    for it in clients:
        if it.sts is not None and (cell := results.cells.get((it.name, it.sts, STS))) is not None:
            said = cell.remark if cell.result == "works" else f"FAILED: {_steady(cell.reason)}"
            lines.append(f"| {it.title} | {it.sts} | {_cell(said)} |")
    return [*lines, ""]


def rewrite(readme: Path, results: Results, clients: list[Client]) -> None:
    """The symptoms between the marks of the README, those that are alike in one line."""
    seen: dict[str, tuple[list[str], list[str]]] = {}
    for column, advice in ADVICE.items():
        for it in clients:
            cell = results.cells.get((it.name, "full-uri", column))
            if cell is not None and cell.said:
                titles, advices = seen.setdefault(_symptom(cell.said), ([], []))
                titles += [it.title] if it.title not in titles else []
                advices += [advice] if advice not in advices else []
    lines = ["| a program says | with | what it means, what to do |", "|---|---|---|"]
    for symptom, (titles, advices) in seen.items():
        lines.append(f"| {_cell(symptom)} | {', '.join(titles)} | {'; or '.join(advices)} |")
    before, _, rest = readme.read_text().partition(BEGIN)
    _, marked, after = rest.partition(END)
    if not marked:
        raise ValueError(f"{readme}: {BEGIN} and {END} do not stand there")
    readme.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}")


def _symptom(said: str) -> str:
    """What to look for in a log: from the front, and where the broker's own code stands further behind, that too."""
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
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
