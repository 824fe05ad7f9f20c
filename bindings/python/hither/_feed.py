"""The feed of changes: hither-table(5), FEED."""

from __future__ import annotations

import os
import socket
import struct
from typing import Iterable, Iterator, NamedTuple, Optional

from ._entry import BOTH
from ._file import is_secure
from ._names import parse, text_of
from ._table import RUNTIME_DIR

_CAUSES = {1: "new-set", 2: "withdrawn", 3: "gone", 4: "order", 5: "local"}
_CHANGE, _GAP, _ACCEPTED, _REFUSED = 1, 2, 3, 4
_DATAGRAM_MAX, _RECORD_MAX = 4096, 279


class Change(NamedTuple):
    """A change of the address set of a name, or a gap: then the names that have changed meanwhile follow."""

    cause: str  # "new-set", "withdrawn", "gone", "order", "local", "other", or "gap"
    name: str  # empty for a gap
    family: int  # hither.A or hither.AAAA; 0 for a gap
    version: int
    set_version: int
    is_coalesced: bool  # versions were passed over


class Feed:
    """A subscription. The daemon keeps the names fresh until it is closed. `select` and asyncio take it."""

    def __init__(
        self, names: Iterable[str], families: int = BOTH, directory: Optional[str] = None, timeout: float = 5.0
    ) -> None:
        """Look the names up afterwards: what changes before the daemon has taken all of them is not told.

        Raises OSError if there is no daemon, TimeoutError if it does not answer within `timeout` seconds, and
        PermissionError if it takes no more names."""
        chosen = directory or (os.environ.get("HITHER_RUNTIME_DIR") if not is_secure() else None)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect((chosen or RUNTIME_DIR) + "/changes")
            datagram = b"\1"
            for name in names:
                own = bytes([families]) + parse(name).wire
                if len(datagram) + len(own) > _DATAGRAM_MAX:
                    self._subscribe(datagram)
                    datagram = b"\1"
                datagram += own
            if len(datagram) > 1:
                self._subscribe(datagram)
            self._socket.settimeout(None)
        except BaseException:
            self._socket.close()
            raise

    def _subscribe(self, datagram: bytes) -> None:
        try:
            self._socket.sendall(datagram)
        except BrokenPipeError:
            pass  # The daemon has refused the connection; the record says why.
        while True:
            record = self._socket.recv(_RECORD_MAX)
            if not record:
                raise ConnectionError("the daemon has closed the feed")
            if record[0] == _REFUSED:
                raise PermissionError("the daemon does not take the names, reason %d" % record[1])
            if record[0] == _ACCEPTED:
                return

    def fileno(self) -> int:
        return self._socket.fileno()

    def __iter__(self) -> Iterator[Change]:
        """Waits for changes, and ends when the daemon does: subscribe again and look the names up."""
        while True:
            record = self._socket.recv(_RECORD_MAX)
            if not record:
                return
            change = _read(record)
            if change:
                yield change

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read(record: bytes) -> Optional[Change]:
    if len(record) < 24 or record[0] not in (_CHANGE, _GAP):
        return None
    kind, why, family, flags, _, version, set_version = struct.unpack_from("<BBBBIQQ", record)
    if kind == _GAP:
        return Change("gap", "", 0, version, 0, True)
    name = text_of(record[24:])
    return Change(_CAUSES.get(why, "other"), name, family, version, set_version, bool(flags & 1))
