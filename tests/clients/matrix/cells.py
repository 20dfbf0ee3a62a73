"""All cells: the columns of all clients on all ways, and those of some clients on some ways."""

from caller_identity import STS, has_sts, sts
from client import Client
from columns import COLUMNS
from grants import GRANTS, has_grants
from storm import STORM, has_storm, storm

# Each with the number of temporary SeaweedFS keys that it uses.
CELLS = COLUMNS | {STORM: (storm, 4), STS: (sts, 0)} | GRANTS
_ONLY = {STORM: has_storm, STS: has_sts} | dict.fromkeys(GRANTS, has_grants)


# The cells of `make test`: all on the full URI, and two on the other ways, which differ in how keys and tokens travel.
_BRIEF = ("temporary", "wrong-token")


def is_brief(way: str, column: str) -> bool:
    """Returns true if the cell belongs to the short run of `make test`."""
    return way == "full-uri" or column in _BRIEF


def has(client: Client, way: str, column: str) -> bool:
    """Returns true if the cell exists."""
    return column not in _ONLY or _ONLY[column](client, way)
