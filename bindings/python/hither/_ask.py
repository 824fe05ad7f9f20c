"""Asking the daemon. Its answer is then read from the table, since it is published before the reply is sent."""

from __future__ import annotations

import os
import socket
import time
from typing import Optional, Tuple

from ._names import Name

_WAIT_S = 1.5


def ask(server: Tuple[str, int], name: Name, families: int) -> Optional[bool]:
    """Whether the daemon has answered about every wanted family; None if it does not reply in time."""
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    # The id need not be secret: a forged reply only makes us read the table.
    own = int.from_bytes(os.urandom(2), "big") & ~1
    end = time.monotonic() + _WAIT_S
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asking:
            asking.connect(server)
            waiting = set()
            for n, rtype in ((0, 1), (1, 28)):
                if families >> n & 1:
                    head = (own | n).to_bytes(2, "big") + b"\x01\0\0\x01\0\0\0\0\0\0"
                    asking.send(head + name.wire + bytes([0, rtype, 0, 1]))
                    waiting.add(own | n)
            while waiting:
                left = end - time.monotonic()
                if left <= 0:
                    return None
                asking.settimeout(left)
                reply = asking.recv(12)
                if len(reply) < 12 or not reply[2] & 0x80 or int.from_bytes(reply[:2], "big") & ~1 != own:
                    continue
                if reply[3] & 15 not in (0, 3):
                    return False
                waiting.discard(int.from_bytes(reply[:2], "big"))
            return True
    except socket.timeout:
        return None
    except OSError:
        return False
