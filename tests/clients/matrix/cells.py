"""Every cell there is: the columns that all clients have on all ways, and those of some clients on some ways."""

from caller_identity import STS, has_sts, sts
from client import Client
from columns import COLUMNS
from storm import STORM, has_storm, storm

# Each with the number of temporary keys of SeaweedFS that it takes.
CELLS = COLUMNS | {STORM: (storm, 4), STS: (sts, 0)}
_ONLY = {STORM: has_storm, STS: has_sts}


def has(client: Client, way: str, column: str) -> bool:
    """Whether there is such a cell at all."""
    return column not in _ONLY or _ONLY[column](client, way)
