"""Which names are left to the system's resolver, since the host answers them itself or completes them first."""

from __future__ import annotations

import os
import re
import socket
import time
from typing import Dict, FrozenSet, Optional, Tuple

_CHECK_AFTER_S = 1.0
_OCTETS_MAX = 16 << 20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_STAMP = Tuple[int, int, int]


class SystemFiles:
    """What is needed of /etc/hosts and /etc/resolv.conf, which are looked at once a second."""

    def __init__(self, hosts: str = "/etc/hosts", resolv: str = "/etc/resolv.conf") -> None:
        self._paths = (hosts, resolv)
        self._stamps: Dict[str, Optional[_STAMP]] = {}
        self._checked = -_CHECK_AFTER_S
        self.hosts: FrozenSet[str] = frozenset()
        self.ndots = 1

    def refresh(self) -> None:
        now = time.monotonic()
        if now - self._checked < _CHECK_AFTER_S:
            return
        self._checked = now
        hosts, resolv = self._paths
        text = self._changed(hosts)
        if text is not None:
            self.hosts = _hosts_of(text)
        text = self._changed(resolv)
        if text is not None:
            self.ndots = _ndots_of(text + "\noptions " + os.environ.get("RES_OPTIONS", ""))

    def _changed(self, path: str) -> Optional[str]:
        """The content of a file that has changed; that of a file that cannot be read is empty."""
        try:
            found = os.stat(path)
            stamp: Optional[_STAMP] = (found.st_ino, found.st_size, found.st_mtime_ns)
            if found.st_size > _OCTETS_MAX or not os.path.isfile(path):
                stamp = None
        except OSError:
            stamp = None
        if path in self._stamps and self._stamps[path] == stamp:
            return None
        self._stamps[path] = stamp
        if stamp is None:
            return ""
        try:
            with open(path, encoding="latin-1") as file:
                return file.read()
        except OSError:
            return ""

    def may_be_in_table(self, host: str) -> bool:
        """Whether a host is a name that the table may have, and that the system does not answer otherwise."""
        if not _NAME.match(host) or len(host) > 254:
            return False
        name = host.rstrip(".").lower()
        last = name.rpartition(".")[2]
        if last in ("localhost", "local", "") or last.isdigit() or last.startswith("0x"):
            return False
        self.refresh()
        is_absolute = host.endswith(".")
        if name in self.hosts or name == socket.gethostname().lower():
            return False
        return is_absolute or name.count(".") >= self.ndots


def _hosts_of(text: str) -> FrozenSet[str]:
    names = set()
    for line in text.splitlines():
        names.update(word.rstrip(".").lower() for word in line.partition("#")[0].split()[1:])
    return frozenset(names)


def _ndots_of(text: str) -> int:
    """The number of dots from which on a name is looked up as it is, at least 1."""
    ndots = 1
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["options"]:
            for word in words[1:]:
                if word.startswith("ndots:") and word[6:].isdigit():
                    ndots = int(word[6:])
    return max(ndots, 1)
