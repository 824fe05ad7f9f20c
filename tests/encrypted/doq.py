"""A server of DNS over QUIC (aioquic), which asks a server of plain DNS: doq.py ADDRESS:PORT BACKEND:PORT [reset]

With "reset" it loses the state of a connection with its first query, and says so by a stateless reset. It proves the address of each client by a Retry packet, and resumes sessions. It prints "ready" when it listens. Its
certificate and key are chain.pem and key.pem in its working directory.
"""

import asyncio
import os
import sys

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived


class Backend(asyncio.DatagramProtocol):
    """Asks the server of plain DNS, with ids of its own."""

    def __init__(self):
        self.waiting = {}
        self.latest = 0

    def connection_made(self, transport):
        self.transport = transport

    def ask(self, query, answer):
        self.latest = (self.latest + 1) % 65536
        self.waiting[self.latest] = answer
        self.transport.sendto(self.latest.to_bytes(2, "big") + query[2:])

    def datagram_received(self, response, address):
        answer = self.waiting.pop(int.from_bytes(response[:2], "big"), None)
        if answer:
            answer(bytes(2) + response[2:])


class Doq(QuicConnectionProtocol):
    """One connection: a query and a response on each stream (RFC 9250, section 4.2)."""

    def __init__(self, *arguments, backend, **options):
        super().__init__(*arguments, **options)
        self.backend = backend
        self.queries = {}
        self.is_lost = False

    def datagram_received(self, datagram, address):
        if not self.is_lost:
            super().datagram_received(datagram, address)

    def lose(self):
        """Ends as after a restart (RFC 9000, section 10.3): the client knows a token for each id of the connection."""
        self.is_lost = True
        address = self._quic._network_paths[0].addr
        for connection_id in self._quic._host_cids:
            head = bytes([0x40 | os.urandom(1)[0] & 0x3F]) + os.urandom(40)
            self._transport.sendto(head + connection_id.stateless_reset_token, address)

    def quic_event_received(self, event):
        if not isinstance(event, StreamDataReceived):
            return
        stream = event.stream_id
        query = self.queries.pop(stream, b"") + event.data
        if event.end_stream and "reset" in sys.argv:
            self.lose()
        elif event.end_stream:
            self.backend.ask(query[2:], lambda response: self.answer(stream, response))
        else:
            self.queries[stream] = query

    def answer(self, stream, response):
        try:
            self._quic.send_stream_data(stream, len(response).to_bytes(2, "big") + response, end_stream=True)
        except ValueError:
            return  # The client has given up the stream.
        self.transmit()


def parts(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


async def main():
    loop = asyncio.get_running_loop()
    _, backend = await loop.create_datagram_endpoint(Backend, remote_addr=parts(sys.argv[2]))
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["doq"])
    configuration.load_cert_chain("chain.pem", "key.pem")
    tickets = {}
    await serve(
        *parts(sys.argv[1]),
        configuration=configuration,
        create_protocol=lambda *arguments, **options: Doq(*arguments, backend=backend, **options),
        session_ticket_fetcher=lambda label: tickets.pop(label, None),
        session_ticket_handler=lambda ticket: tickets.__setitem__(ticket.ticket, ticket),
        retry=True,
    )
    print("ready", flush=True)
    await asyncio.Future()


asyncio.run(main())
