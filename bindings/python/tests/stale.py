"""The daemon is dead, and the addresses of short.example have expired. Run by tests/bindings.rs."""

import socket
import unittest

import hither


class Stale(unittest.TestCase):
    def test_stale_addresses_are_used(self):
        table = hither.Table()
        self.assertIs(table.lookup("short.example", hither.A).status, hither.Status.STALE)
        answer = table.resolve("short.example", hither.A)
        self.assertEqual([a.address for a in answer.addresses], ["127.0.0.7"])
        self.assertEqual((answer.status, answer.ttl, answer.a.ttl), (hither.Status.STALE, 30, 0))
        self.assertIsNone(table.resolve("short.example", hither.A, stale=False))
        self.assertIsNone(table.resolve("other.example"))

    def test_the_hook_uses_them_only_if_the_system_has_no_answer(self):
        original, errors = socket.getaddrinfo, [socket.EAI_AGAIN]

        def fails(*args, **more):
            raise socket.gaierror(errors[0], "no answer")

        socket.getaddrinfo = fails
        try:
            hither.install()
            self.assertEqual(socket.getaddrinfo("short.example", 80, socket.AF_INET)[0][4], ("127.0.0.7", 80))
            errors[0] = socket.EAI_NONAME
            with self.assertRaises(socket.gaierror):
                socket.getaddrinfo("short.example", 80, socket.AF_INET)
        finally:
            hither.uninstall()
            socket.getaddrinfo = original


if __name__ == "__main__":
    unittest.main()
