"""Reads the answers of the DNS forwarder hither from shared memory, as hither-table(5) describes it.

Most programs need one line, before their first connection:

    import hither; hither.install()

From then on socket.getaddrinfo, and with it http.client, urllib, requests and asyncio, reads the table first.
"""

from ._entry import AAAA, BOTH, A, Address, Entry, Set, Status
from ._feed import Change, Feed
from ._file import TableError
from ._hook import install, uninstall
from ._table import RUNTIME_DIR, Answer, Table

__all__ = [
    "A", "AAAA", "BOTH", "RUNTIME_DIR", "Address", "Answer", "Change", "Entry", "Feed", "Set", "Status", "Table", "TableError",
    "install", "uninstall",
]
