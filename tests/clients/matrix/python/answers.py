"""What the clients in Python have in common: an answer in one line for every line on standard input."""

import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version

LONGEST_LINE = 2000


def serve(call: Callable[[], Iterable[str]], *packages: str, sts: Callable[[], str] | None = None) -> None:
    """`call` makes one call and returns the names that came of it, `sts` one of STS, whose ARN it returns.

    With --version: the versions of `packages`, no call.
    """
    if "--version" in sys.argv[1:]:
        print(", ".join([*[f"{name} {version(name)}" for name in packages], f"Python {sys.version.split()[0]}"]))
        return
    for line in sys.stdin:
        try:
            answer = f"called: {sts()}" if line.strip() == "sts" else " ".join(["listed:", *call()])
        except Exception as error:  # noqa: BLE001: whatever its user would see
            answer = f"error: {words(error)}"
        print(answer[:LONGEST_LINE], flush=True)


def words(error: BaseException) -> str:
    """What the last lines of a traceback would show, from the outermost error to its cause."""
    chain: list[str] = []
    while error is not None:
        kind = type(error)
        where = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        chain.append(f"{where}{kind.__name__}: {error}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return " ".join(" <- ".join(chain).split())
