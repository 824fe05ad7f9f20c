"""A replacement of socket.getaddrinfo."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from ._entry import A, AAAA, BOTH, Address
from ._file import TableError
from ._system import SystemFiles
from ._table import Answer, Table

_KINDS = (
    (socket.SOCK_STREAM, int(socket.IPPROTO_TCP)),
    (socket.SOCK_DGRAM, int(socket.IPPROTO_UDP)),
    (socket.SOCK_RAW, 0),
)
_FAMILIES = {socket.AF_UNSPEC: BOTH, socket.AF_INET: A, socket.AF_INET6: AAAA}
_ROUTE_AFTER_S = 1.0

_lock = threading.Lock()
_original: Optional[Callable[..., List[tuple]]] = None


class _Hook:
    """Answers from the table what it can, and leaves all else to the original function."""

    def __init__(self, table: Table, original: Callable[..., List[tuple]]) -> None:
        self._table, self._original = table, original
        self._system = SystemFiles()
        self._routes: Dict[bool, Tuple[float, bool]] = {}

    def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> List[tuple]:
        found = None
        kinds = _kinds_of(type, proto, port) if isinstance(family, int) else []
        number = _port_of(port)
        if kinds and number is not None and not flags and isinstance(host, (str, bytes)):
            found = self._addresses(host, family)
        if not found:
            try:
                return self._original(host, port, family, type, proto, flags)
            except socket.gaierror as error:
                # Neither the daemon nor the system's resolver answers: addresses that have expired are better.
                found = self._stale(host, family) if error.args[:1] == (socket.EAI_AGAIN,) and kinds else None
                if not found or number is None or flags:
                    raise
        return [_info(one, number, kind, protocol) for one in found for kind, protocol in kinds]

    def _addresses(self, host: Any, family: int) -> Optional[List[Address]]:
        if isinstance(host, bytes):
            try:
                host = host.decode("ascii")
            except UnicodeDecodeError:
                return None
        families = _FAMILIES.get(family)
        if families is None or not self._system.may_be_in_table(host):
            return None
        answer = self._table.resolve(host, families, stale=False)
        return self._in_order(answer) if answer else None

    def _stale(self, host: Any, family: int) -> Optional[List[Address]]:
        host = host.decode("latin-1") if isinstance(host, bytes) else host
        families = _FAMILIES.get(family)
        if families is None or not isinstance(host, str) or not self._system.may_be_in_table(host):
            return None
        return self._in_order(self._table.lookup(host, families))

    def _in_order(self, answer: Answer) -> List[Address]:
        # A denial is left to the original function: the search list may complete the name, or another source of
        # the system knows it.
        ordered = answer.addresses
        kinds = {one.is_ipv6 for one in ordered}
        if len(kinds) == 2:
            # As getaddrinfo does: a family without a route comes last.
            routed = {kind: self._has_route(next(o for o in ordered if o.is_ipv6 == kind)) for kind in kinds}
            ordered = sorted(ordered, key=lambda one: not routed[one.is_ipv6])
        return ordered

    def _has_route(self, one: Address) -> bool:
        """Whether this host has a way to an address of that family. It is tried once a second: no packet is sent."""
        now = time.monotonic()
        known = self._routes.get(one.is_ipv6)
        if known and now - known[0] < _ROUTE_AFTER_S:
            return known[1]
        family = socket.AF_INET6 if one.is_ipv6 else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as trial:
                trial.connect((one.address, 9))
            has_route = True
        except OSError:
            has_route = False
        self._routes[one.is_ipv6] = (now, has_route)
        return has_route


def _kinds_of(kind: int, proto: int, port: Any) -> List[Tuple[int, int]]:
    """The kinds of socket that are asked for; none if they are unusual. A raw socket has no ports."""
    if kind == socket.SOCK_RAW and port is not None:
        return []
    return [own for own in _KINDS if kind in (0, own[0]) and proto in (0, own[1]) and (own[1] or not proto)]


def _port_of(port: Any) -> Optional[int]:
    """The port number; None for services by name."""
    if port is None:
        return 0
    if isinstance(port, (str, bytes)):
        # Digits of other scripts are digits for Python, and a service by name for the original function.
        if not port.isascii() or not port.isdigit() or len(port) > 5:
            return None
        port = int(port)
    return port if type(port) is int and 0 <= port <= 0xFFFF else None


def _info(one: Address, port: int, kind: int, proto: int) -> tuple:
    if one.is_ipv6:
        return socket.AF_INET6, socket.SocketKind(kind), proto, "", (one.address, port, 0, 0)
    return socket.AF_INET, socket.SocketKind(kind), proto, "", (one.address, port)


def install(table: Optional[Table] = None) -> bool:
    """Has socket.getaddrinfo read the table first, for this process. What the table and the daemon do not know, and
    what it does not understand, goes to the original function. Returns False if it is installed already."""
    global _original
    with _lock:
        if _original is not None:
            return False
        try:
            chosen = table or Table(must_exist=False)
        except TableError:
            return False
        _original = socket.getaddrinfo
        hook = _Hook(chosen, _original)

        def getaddrinfo(
            host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
        ) -> List[tuple]:
            """As socket.getaddrinfo, from the table of hither where it has the answer."""
            return hook.getaddrinfo(host, port, family, type, proto, flags)

        socket.getaddrinfo = getaddrinfo
        return True


def uninstall() -> bool:
    """Puts the original socket.getaddrinfo back. Returns False if it was not replaced, or if another library has
    replaced it since: then the hook stays."""
    global _original
    with _lock:
        if _original is None or socket.getaddrinfo.__module__ != __name__:
            return False
        socket.getaddrinfo = _original
        _original = None
        return True
