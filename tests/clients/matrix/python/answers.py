"""Shared by the clients in Python: one line of output for every line on standard input."""

import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version

LONGEST_LINE = 2000
# The other calls by their words, and the beginnings of their answers.
ANSWERS = {"sts": "called", "get": "got", "put": "put"}


def serve(call: Callable[[], Iterable[str]], *packages: str, **others: Callable[[], str]) -> None:
    """`call` makes one call and returns the names in its response; `others` return the rest of the answer to their word.

    With --version: the versions of `packages`, no call.
    """
    if "--version" in sys.argv[1:]:
        print(", ".join([*[f"{name} {version(name)}" for name in packages], f"Python {sys.version.split()[0]}"]))
        return
    for line in sys.stdin:
        word = line.strip()
        try:
            answer = f"{ANSWERS[word]}: {others[word]()}" if word in others else " ".join(["listed:", *call()])
        except Exception as error:  # noqa: BLE001: whatever its user would see
            answer = f"error: {words(error)}"
        print(answer[:LONGEST_LINE], flush=True)


def words(error: BaseException) -> str:
    """The errors of a traceback in one line, from the outermost to its cause."""
    chain: list[str] = []
    while error is not None:
        kind = type(error)
        where = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        chain.append(f"{where}{kind.__name__}: {error}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return " ".join(" <- ".join(chain).split())
