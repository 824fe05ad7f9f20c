"""The daemon is dead, and the addresses of short.example have expired. Run by tests/bindings.rs."""

import unittest

import hither


class Stale(unittest.TestCase):
    def test_stale_addresses_are_used(self):
        table = hither.Table()
        self.assertIs(table.lookup("short.example", hither.A).status, hither.Status.STALE)
        answer = table.resolve("short.example", hither.A)
        self.assertEqual([a.address for a in answer.addresses], ["198.18.0.7"])
        self.assertEqual((answer.status, answer.ttl, answer.a.ttl), (hither.Status.STALE, 30, 0))
        self.assertIsNone(table.resolve("other.example"))


if __name__ == "__main__":
    unittest.main()
