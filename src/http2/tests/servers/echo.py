"""A server by hyper-h2 for one connection at a time: echoes the body of each request.

Usage: echo.py. Prints its port. The path of a request says how it is answered: /late after the next
request, /refused with REFUSED_STREAM, /pieces an octet at a time with padding and trailers,
anything else plainly. Its second SETTINGS make windows 10 octets.
"""

import socket

import h2.config
import h2.connection
import h2.events
import h2.settings


def answer(connection, stream, path, body):
    headers = [(":status", "200"), ("content-type", "application/dns-message"), ("age", "5")]
    if path == "/refused":
        connection.reset_stream(stream, 7)
    elif path == "/pieces":
        connection.send_headers(stream, [(":status", "103")])
        connection.send_headers(stream, headers)
        for octet in body:
            connection.send_data(stream, bytes([octet]), pad_length=200)
        connection.send_headers(stream, [("trailer", "x")], end_stream=True)
    else:
        connection.send_headers(stream, headers + [("content-length", str(len(body)))])
        for at in range(0, len(body), 16384):
            connection.send_data(stream, body[at : at + 16384])
        connection.end_stream(stream)


def serve(client):
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    settings = h2.settings.SettingCodes
    connection.initiate_connection()
    connection.update_settings({settings.INITIAL_WINDOW_SIZE: 10, settings.MAX_CONCURRENT_STREAMS: 50})
    paths, bodies, late = {}, {}, []
    client.sendall(connection.data_to_send())
    while octets := client.recv(65536):
        for event in connection.receive_data(octets):
            if isinstance(event, h2.events.RequestReceived):
                paths[event.stream_id] = dict(event.headers)[b":path"].decode()
                bodies[event.stream_id] = b""
            elif isinstance(event, h2.events.DataReceived):
                bodies[event.stream_id] += event.data
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                stream = event.stream_id
                if paths[stream] == "/late":
                    late.append(stream)
                    continue
                answer(connection, stream, paths[stream], bodies[stream])
                while late:
                    answer(connection, late[0], "/late", bodies[late.pop(0)])
        client.sendall(connection.data_to_send())


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    client, _ = listener.accept()
    client.settimeout(60)
    try:
        serve(client)
    except OSError:
        pass
