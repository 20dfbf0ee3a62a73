"""The blocks of docs/RECIPES.md: tests run what users copy."""

import re
from pathlib import Path

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "RECIPES.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(recipe: str) -> dict[str, list[str]]:
    """Returns the blocks of one recipe by language, in their order. A test that unpacks them notices a new one."""
    _, heading, rest = DOCUMENT.read_text().partition(f"\n## {recipe}\n")
    assert heading, f"{DOCUMENT.name} has no recipe {recipe!r}"
    found: dict[str, list[str]] = {}
    for language, text in BLOCK.findall(rest.partition("\n## ")[0]):
        found.setdefault(language, []).append(text)
    return found
