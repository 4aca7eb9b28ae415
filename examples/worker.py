#!/usr/bin/env python3
"""A worker that answers HTTP requests on connections that it is sent; nothing but the standard library.

    sandbox serve --listen 127.0.0.1:8080 --hand-over pool --workers 2 -- python3 examples/worker.py

It speaks version 1 of the channel (docs/channel.md), which is descriptor 3. Inside its sandbox it can make
no socket: it answers, and calls nobody.
"""

import collections
import os
import socket
import struct
import sys
import time

VERSION = 1
CONNECTIONS, DRAIN = 1, 2  # to a worker
HELLO, DONE, REFUSED = 0x81, 0x82, 0x83  # from a worker
EXPIRED = 2
LONGEST, MOST_CONNECTIONS = 8824, 16

HEADER = struct.Struct("<BBHI")
ANSWER = struct.Struct("<BBHIIHH")
RECORD = struct.Struct("<QQQBBBBB3x16sHHI16sHHI")

Connection = collections.namedtuple("Connection", "id socket peer local listener accepted deadline")


def address(family, ip, port, scope, name):
    """An address as Python's socket module has them."""
    if family == 4:
        return (socket.inet_ntop(socket.AF_INET, ip[:4]), port)
    if family == 6:
        return (socket.inet_ntop(socket.AF_INET6, ip), port, 0, scope)
    return name.decode(errors="surrogateescape")


class Channel:
    """The channel to the broker: an iterator over connections."""

    def __init__(self, credits):
        number = int(os.environ["SANDBOX_CHANNEL"])
        os.set_inheritable(number, False)
        self.socket = socket.socket(fileno=number)
        self.credits = credits

    def tell(self, kind, ids=(), reason=0):
        length = ANSWER.size + 8 * len(ids)
        head = ANSWER.pack(VERSION, kind, len(ids), length, self.credits, reason, 0)
        # Not sendmsg: the sandbox refuses it.
        self.socket.send(head + struct.pack(f"<{len(ids)}Q", *ids))

    def __iter__(self):
        self.tell(HELLO)
        while True:
            message, descriptors, flags, _ = socket.recv_fds(self.socket, LONGEST, MOST_CONNECTIONS)
            if not message:
                return  # the broker is gone
            version, kind, count, length = HEADER.unpack_from(message)
            if version != VERSION or length != len(message):
                sys.exit(f"the broker speaks version {version} of the channel")
            if kind == DRAIN:
                return  # no more will come
            if kind != CONNECTIONS or len(descriptors) != count or flags & socket.MSG_CTRUNC:
                sys.exit("the broker sent a malformed message")
            yield from self.read(message, descriptors)

    def read(self, message, descriptors):
        at = HEADER.size
        for descriptor in descriptors:
            (id, accepted, limit, listener_length, peer_family, peer_length, local_family, local_length,
             peer_ip, peer_port, _, peer_scope, local_ip, local_port, _, local_scope,
             ) = RECORD.unpack_from(message, at)
            at += RECORD.size
            names = []
            for length in (listener_length, peer_length, local_length):
                names.append(message[at:at + length])
                at += length
            listener, peer, local = names
            yield Connection(
                id,
                socket.socket(fileno=descriptor),
                address(peer_family, peer_ip, peer_port, peer_scope, peer),
                address(local_family, local_ip, local_port, local_scope, local),
                listener.decode(),
                accepted / 1e9,
                (accepted + limit) / 1e9 if limit else None,
            )

    def done(self, connection):
        self.tell(DONE, [connection.id])

    def refused(self, connection, reason):
        self.tell(REFUSED, [connection.id], reason)


def answer(connection):
    client = connection.socket
    patience = 10.0
    if connection.deadline is not None:
        patience = min(patience, connection.deadline - time.time())
    client.settimeout(patience)
    request = b""
    while b"\r\n\r\n" not in request and len(request) < 16384:
        part = client.recv(4096)
        if not part:
            return
        request += part
    body = f"hello {connection.peer}, you came to {connection.local} by {connection.listener}\n".encode()
    client.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
        % (len(body), body)
    )


def main():
    # One at a time, and one at hand.
    channel = Channel(credits=2)
    for connection in channel:
        if connection.deadline is not None and connection.deadline <= time.time():
            connection.socket.close()
            channel.refused(connection, EXPIRED)
            continue
        try:
            answer(connection)
        except OSError:
            pass  # clients come and go as they like
        connection.socket.close()
        channel.done(connection)


if __name__ == "__main__":
    main()
