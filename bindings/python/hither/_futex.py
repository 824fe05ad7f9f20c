"""Waits for a change of the table by futex(2); by short pauses where that cannot be called."""

from __future__ import annotations

import ctypes
import platform
import time
from typing import Optional

from ._file import CHANGES, File

_NUMBERS = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "loongarch64": 98}
_WAIT = 0
_PAUSE_S = 0.02


class _Buffer(ctypes.Structure):
    """Py_buffer, of which only the first field matters here."""

    _fields_ = [("buf", ctypes.c_void_p), ("rest", ctypes.c_char * 200)]


class _Time(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_int64)]


def _address_of(words: memoryview) -> int:
    """The address of a memoryview, also of one that must not be written to."""
    buffer = _Buffer()
    get = ctypes.pythonapi.PyObject_GetBuffer
    get.argtypes, get.restype = [ctypes.py_object, ctypes.c_void_p, ctypes.c_int], ctypes.c_int
    release = ctypes.pythonapi.PyBuffer_Release
    release.argtypes, release.restype = [ctypes.c_void_p], None
    get(words, ctypes.addressof(buffer), 0)
    address = buffer.buf
    release(ctypes.addressof(buffer))
    return address or 0


def wait_for_change(file: Optional[File], seen: int, timeout: float) -> None:
    """Waits until the lower half of CHANGES is another one, at most that many seconds; may return earlier."""
    number = _NUMBERS.get(platform.machine())
    if file is None or file.words is None or number is None:
        time.sleep(min(timeout, _PAUSE_S))
        return
    bound = _Time(int(timeout), int(timeout % 1 * 1e9))
    # The file, and with it the mapping, lives until this function returns.
    address = ctypes.c_void_p(_address_of(file.words) + 8 * CHANGES)
    call = ctypes.CDLL(None, use_errno=True).syscall
    expected = ctypes.c_uint32(seen & 0xFFFFFFFF)
    call(ctypes.c_long(number), address, ctypes.c_long(_WAIT), expected, ctypes.byref(bound), None, ctypes.c_long(0))
