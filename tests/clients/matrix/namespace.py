"""A network of its own for a row, which owns the addresses that clients know by heart.

Only loopback is in there: no row sees another one, and whoever looks for 169.254.169.254 uninvited is refused at once.
"""

import shutil
import subprocess

ADDRESSES = ["169.254.170.2/32", "169.254.170.23/32", "169.254.169.254/32", "fd00:ec2::254/128", "fd00:ec2::23/128"]
WAYS_IN = [["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"]]
NEEDS = ["unshare", "ip"]


def command() -> list[str] | None:
    """What to put before a command so that it gets such a network; None where this machine does not let us."""
    if any(shutil.which(need) is None for need in NEEDS):
        return None
    for way_in in WAYS_IN:
        tried = subprocess.run([*way_in, "ip", "link", "set", "lo", "up"], capture_output=True)
        if tried.returncode == 0:
            return way_in
    return None


def own_addresses() -> None:
    """Inside: loopback comes up and owns the addresses. IPv6 is left out where the kernel has none."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in ADDRESSES:
        six = ":" in address
        subprocess.run(
            ["ip", "address", "add", address, "dev", "lo", *(["nodad"] if six else [])], check=not six, capture_output=six
        )
