"""Tests of the package. Those beside a daemon are run by tests/bindings.rs, which starts one."""

import asyncio
import http.client
import os
import pathlib
import random
import socket
import tempfile
import threading
import time
import unittest
import urllib.request

import hither
from hither import _file, _hook, _names
from hither._system import SystemFiles, _hosts_of, _ndots_of

PORT = os.environ.get("HITHER_TEST_PORT")


class Names(unittest.TestCase):
    def test_names_are_read_and_written(self):
        label = "a" * 63
        longest = (label + ".") * 3 + "b" * 61
        for text, shown in {
            "www.Example.com": "www.example.com.",
            "www.example.com.": "www.example.com.",
            ".": ".",
            r"a\.b.example": r"a\.b.example.",
            r"\065.example": "a.example.",
            r"\000": r"\000.",
            longest: longest + ".",
        }.items():
            self.assertEqual(str(_names.parse(text)), shown, text)
        wrong = ("", "..", "a..b", ".a", label + "a", longest + "b", longest + ".b", "\\", r"\25", r"\256", r"a\1x2", "ü.de")
        for text in wrong:
            with self.assertRaises(ValueError, msg=text):
                _names.parse(text)

    def test_names_of_the_system_are_left_to_it(self):
        with tempfile.TemporaryDirectory() as directory:
            hosts, resolv = pathlib.Path(directory, "hosts"), pathlib.Path(directory, "resolv.conf")
            hosts.write_text("192.0.2.1 one.example ONE # two.example\n")
            resolv.write_text("options ndots:2\n")
            system = SystemFiles(str(hosts), str(resolv))
            odd = ("", ".", "localhost", "a.LOCALHOST", "p.local", "192.0.2.1", "127.1", "0x7f.0x1", "::1", "fe80::1%lo")
            odd += ("a b.example.org", "-x.example.org", "ü.example.org", "10", "single", "one.example.", "two.example")
            for host in odd:
                self.assertFalse(system.may_be_in_table(host), host)
            for host in ("www.example.com", "two.example.", "_x.a.example"):
                self.assertTrue(system.may_be_in_table(host), host)
            hosts.unlink()
            system._checked -= 2
            self.assertTrue(system.may_be_in_table("one.example."))
        self.assertEqual(_hosts_of("127.0.0.1 a B. # c\n\n# d e\n"), {"a", "b"})
        for text, ndots in {"": 1, "options edns0 ndots:5": 5, "options ndots:x": 1, "options ndots:0": 1}.items():
            self.assertEqual(_ndots_of(text), ndots, text)

    def test_kinds_and_ports(self):
        tcp, udp, raw = _hook._KINDS
        self.assertEqual(_hook._kinds_of(0, 0, None), [tcp, udp, raw])
        self.assertEqual(_hook._kinds_of(socket.SOCK_STREAM, 0, None), [tcp])
        self.assertEqual(_hook._kinds_of(socket.SOCK_RAW, 0, 80), [])
        self.assertEqual(_hook._kinds_of(0, socket.IPPROTO_UDP, None), [udp])
        for kind, proto in ((socket.SOCK_STREAM, socket.IPPROTO_UDP), (socket.SOCK_SEQPACKET, 0), (0, 132)):
            self.assertEqual(_hook._kinds_of(kind, proto, None), [])
        for port, number in ((None, 0), (80, 80), ("443", 443), (b"1", 1), ("http", None), (70000, None), ("", None)):
            self.assertEqual(_hook._port_of(port), number, port)


class AnyRecord(unittest.TestCase):
    def test_nothing_is_read_outside_of_a_record(self):
        numbers, tried = random.Random(7), 0
        for _ in range(4000):
            words = [numbers.getrandbits(64) >> numbers.randrange(64) for _ in range(numbers.randrange(2, 80))]
            counts = numbers.randrange(12) << 24 | numbers.randrange(5) << 32 | 9 << 16 | 3 << 40
            words[1] = (counts if numbers.randrange(2) else words[1] & ~0xFFFF) | len(words)
            if not _file._fits(words[1]):
                continue
            tried += 1
            entry = hither.Entry(words, numbers.getrandbits(48), numbers.getrandbits(20), numbers.getrandbits(10))
            entry.status(hither.BOTH), entry.ordered(), entry.name, entry.is_intact
            for family in (hither.A, hither.AAAA):
                entry.withholds(family)
                own = entry.set(family)
                if own:
                    own.canonical, own.dissenters, own.ttl, own.lifetime_s, own.use, own.addresses
        self.assertGreater(tried, 1000)


class WithoutTable(unittest.TestCase):
    def test_there_is_no_table(self):
        with tempfile.TemporaryDirectory() as directory:
            with self.assertRaises(hither.TableError):
                hither.Table(directory)
            table = hither.Table(directory, must_exist=False)
            self.assertIs(table.lookup("www.example.com").status, hither.Status.NO_TABLE)
            self.assertIsNone(table.resolve("www.example.com"))
            self.assertEqual(table.wait(0, timeout=0.01), 0)
            self.assertTrue(hither.install(table))
            try:
                self.assertEqual(socket.getaddrinfo("127.0.0.1", 80)[0][4], ("127.0.0.1", 80))
            finally:
                hither.uninstall()

    def test_files_that_are_no_table_are_refused(self):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory, "hosts")
            for content, mode in ((b"", 0o644), (bytes(4096), 0o644), (b"HITHER\x01\n" + bytes(8184), 0o644), (b"x" * 4099, 0o644)):
                path.write_bytes(content)
                path.chmod(mode)
                with self.assertRaises(hither.TableError):
                    hither.Table(directory)
            path.write_bytes(bytes(4096))
            path.chmod(0o666)
            with self.assertRaisesRegex(hither.TableError, "could have written"):
                hither.Table(directory)
            path.unlink()
            path.symlink_to("/etc/hosts")
            with self.assertRaises(hither.TableError):
                hither.Table(directory)


@unittest.skipUnless(PORT, "no daemon: tests/bindings.rs runs these tests")
class WithDaemon(unittest.TestCase):
    def setUp(self):
        self.table = hither.Table()
        self.port = int(PORT or 0)

    def test_names_are_resolved(self):
        self.assertIs(self.table.lookup("never.asked.example").status, hither.Status.MISSING)
        for name in ("web.example", "WEB.Example."):
            answer = self.table.resolve(name)
            self.assertIs(answer.status, hither.Status.FRESH)
            self.assertEqual({a.address for a in answer.addresses}, {"127.0.0.1", "2001:db8::7"})
            self.assertTrue(500 <= answer.ttl <= 600 and answer.entry.is_intact)
        self.assertEqual(self.table.resolve("alias.example").a.canonical, "last.example.")
        many = self.table.resolve("many.example")
        self.assertEqual((len(many.a), many.aaaa.denial), (40, "nodata"))
        none = self.table.resolve("none.example")
        self.assertEqual((none.is_denied, none.a.denial), (True, "nxdomain"))
        self.assertIs(self.table.lookup("none.example", hither.AAAA).status, hither.Status.FRESH)

    def test_a_process_without_mapping_reads_the_same(self):
        self.table.resolve("web.example")
        mapped = self.table.lookup("web.example")
        original, _file.may_map = _file.may_map, lambda owner: False
        try:
            unmapped = hither.Table()
            self.assertIsNone(unmapped._current.words)
            self.assertEqual(unmapped.lookup("web.example").entry.words, mapped.entry.words)
        finally:
            _file.may_map = original

    def test_the_fence_and_the_checksum_of_weaker_machines(self):
        _file._fence, _file._IS_ORDERED = _file._lock_fence, False
        try:
            self.assertTrue(self.table.resolve("web.example").addresses)
        finally:
            _file._fence, _file._IS_ORDERED = _file._no_fence, True

    def test_a_change_ends_a_wait(self):
        seen = self.table.changes
        threading.Timer(0.05, self.table.resolve, ["new.example"]).start()
        self.assertNotEqual(self.table.wait(seen, timeout=20), seen)
        watched = self.table.watch(["watched.example", "web.example"])
        first = dict(next(watched) for _ in range(2))
        self.assertIs(first["watched.example"].status, hither.Status.MISSING)
        threading.Timer(0.05, self.table.resolve, ["watched.example"]).start()
        self.assertEqual(next(watched)[0], "watched.example")

    def test_an_entry_that_is_about_to_expire_is_hinted(self):
        end = time.monotonic() + 20
        while not self.table._hinted and time.monotonic() < end:
            self.table.resolve("short.example", hither.A)
            time.sleep(0.01)
        self.assertTrue(self.table._hinted)

    def test_the_hook_answers_what_the_system_cannot(self):
        with self.assertRaises(OSError):
            socket.getaddrinfo("web.example", self.port)
        self.assertTrue(hither.install())
        self.addCleanup(hither.uninstall)
        self.assertFalse(hither.install())
        found = socket.getaddrinfo("web.example", str(self.port), type=socket.SOCK_STREAM)
        v4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", self.port))
        self.assertIn(v4, found)
        self.assertEqual({len(one[4]) for one in found}, {2, 4})
        self.assertEqual(socket.getaddrinfo(b"web.example", None, socket.AF_INET)[0][4], ("127.0.0.1", 0))
        self.assertEqual(len(socket.getaddrinfo("v4.example", 80)), 3)
        with self.assertRaises(OSError):
            socket.getaddrinfo("none.example", 80)
        with self.assertRaises(OSError):
            socket.getaddrinfo("v4.example", 80, socket.AF_INET6)

    def test_the_hook_leaves_the_rest_to_the_original(self):
        calls = [
            (("localhost", 80), {}),
            (("127.0.0.1", 80), {"flags": socket.AI_NUMERICHOST}),
            (("::1", "http"), {"type": socket.SOCK_STREAM}),
            ((None, 80), {"flags": socket.AI_PASSIVE}),
            (("127.1", 80), {}),
            (("localhost", None), {"flags": socket.AI_CANONNAME}),
        ]
        expected = [socket.getaddrinfo(*args, **more) for args, more in calls]
        hither.install()
        self.addCleanup(hither.uninstall)
        self.assertEqual([socket.getaddrinfo(*args, **more) for args, more in calls], expected)
        odd = ("no-such-service", "\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT THREE}", True)
        for args in [("web.example", port) for port in odd] + [("münchen.invalid", 80), ("web.example", 80, 0, 77)]:
            with self.assertRaises((OSError, UnicodeError)):
                socket.getaddrinfo(*args)
        self.assertTrue(hither.uninstall())
        self.assertFalse(hither.uninstall())

    def test_libraries_use_the_hook(self):
        hither.install()
        self.addCleanup(hither.uninstall)
        url = "http://web.example:%d/" % self.port
        self.assertEqual(urllib.request.urlopen(url, timeout=10).read(), b"hello")
        connection = http.client.HTTPConnection("web.example", self.port, timeout=10)
        connection.request("GET", "/")
        self.assertEqual(connection.getresponse().read(), b"hello")
        connection.close()

        async def fetch():
            reader, writer = await asyncio.open_connection("web.example", self.port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            body = await reader.read()
            writer.close()
            return body

        self.assertTrue(asyncio.run(fetch()).endswith(b"hello"))
        try:
            import requests
        except ImportError:
            return
        self.assertEqual(requests.get(url, timeout=10).text, "hello")

    def test_a_subscriber_is_told_of_changes(self):
        with hither.Feed(["feed-python.example", "none.example"]) as feed:
            changes = iter(feed)
            change = next(change for change in changes if change.name == "feed-python.example." and change.family == hither.A)
            self.assertEqual(change.cause, "new-set")
            self.assertIs(self.table.lookup(change.name, hither.A).status, hither.Status.FRESH)
            self.assertGreaterEqual(self.table.lookup(change.name).a.version, change.version)
        with self.assertRaises(ValueError):
            hither.Feed(["a..b"])

    def test_a_child_of_fork_reads_the_table(self):
        self.table.resolve("web.example")
        child = os.fork()
        if not child:
            os._exit(0 if self.table.lookup("web.example").addresses else 1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)


if __name__ == "__main__":
    unittest.main()
