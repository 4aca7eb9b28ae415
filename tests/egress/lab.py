"""A small Internet of the test's own: a "host" namespace and, beside it, one with servers.

Started in fresh network and mount namespaces, which become the host's. Says "ready" with the pid whose
namespaces are the host's, and lives until its standard input ends. No packet leaves it.
"""

import os
import socket
import struct
import subprocess
import sys
import threading

HOST, SERVER = ("11.1.0.1", "11.1.0.2")
HOST6, SERVER6 = ("2a00:1::1", "2a00:1::2")
# Further addresses of the server.
OTHERS = ["11.1.0.3", "11.1.0.4"]


def run(line):
    subprocess.run(line.split(), check=True, stdout=subprocess.DEVNULL)


def serve(address, port, handle, family=socket.AF_INET):
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(4096)

    def loop():
        while True:
            connection, peer = listener.accept()
            threading.Thread(target=guarded, args=(handle, connection, peer), daemon=True).start()

    threading.Thread(target=loop, daemon=True).start()


def guarded(handle, connection, peer):
    try:
        handle(connection, peer)
    except OSError:
        pass


def echo(connection, _):
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)


def count(connection, _):
    """Read to the end, and only then answer how much it was."""
    with connection:
        total = 0
        while data := connection.recv(65536):
            total += len(data)
        connection.sendall(b"%d bytes" % total)


def reset(connection, _):
    """Take one byte and reset."""
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def slow(connection, _):
    """Never read."""
    with connection:
        threading.Event().wait()


def http(connection, peer):
    """Answer one request with its Host and where it came from."""
    with connection:
        request = b""
        while b"\r\n\r\n" not in request:
            data = connection.recv(65536)
            if not data:
                return
            request += data
        host = [line for line in request.split(b"\r\n") if line.lower().startswith(b"host:")]
        body = b"%s from %s" % (b"".join(host), peer[0].encode())
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def udp_echo(address, port, family=socket.AF_INET):
    server = socket.socket(family, socket.SOCK_DGRAM)
    server.bind((address, port))

    def loop():
        while True:
            data, peer = server.recvfrom(65536)
            server.sendto(data.upper(), peer)

    threading.Thread(target=loop, daemon=True).start()


# What the name server knows: A and AAAA records, and aliases.
ZONE = {
    "web.test.example": [SERVER, SERVER6],
    "four.test.example": [SERVER],
    "six.test.example": [SERVER6],
    "a.sub.example": [SERVER],
    "b.sub.example": [OTHERS[0]],
    "alias.example": "web.test.example",
    "to-private.example": "private.example",
    "private.example": ["10.0.0.1"],
    "metadata.example": ["169.254.169.254"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "mixed.example": ["127.0.0.1", SERVER],
    "half-dead.example": ["2a00:1::dead", SERVER],
}


def answer(query):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace"))
        at += query[at] + 1
    kind = struct.unpack(">H", query[at + 1 : at + 3])[0]
    question = query[12 : at + 5]
    name = ".".join(labels).lower()
    asked.append(name)
    with open(sys.argv[1], "a") as log:
        log.write(name + "\n")
    records, owner = [], b"\xc0\x0c"
    found = ZONE.get(name)
    while isinstance(found, str):
        target = b"".join(bytes([len(l)]) + l.encode() for l in found.split(".")) + b"\0"
        records.append(owner + struct.pack(">HHIH", 5, 1, 0, len(target)) + target)
        owner, found = target, ZONE.get(found)
    for address in found or []:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        data = socket.inet_pton(family, address)
        if kind == (28 if family == socket.AF_INET6 else 1):
            records.append(owner + struct.pack(">HHIH", kind, 1, 0, len(data)) + data)
    code = 0 if found is not None else 3
    header = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(records), 0, 0)
    return header + question + b"".join(records)


asked = []


def name_server(address):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))

    def loop():
        while True:
            query, peer = server.recvfrom(4096)
            try:
                server.sendto(answer(query), peer)
            except (IndexError, struct.error):
                pass

    threading.Thread(target=loop, daemon=True).start()


def servers():
    for address in [SERVER] + OTHERS:
        for port, handle in [(7, echo), (80, http), (8080, http), (9, slow), (100, count), (101, reset)]:
            serve(address, port, handle)
    for port, handle in [(7, echo), (80, http)]:
        serve(SERVER6, port, handle, socket.AF_INET6)
    udp_echo(SERVER, 7)
    udp_echo(SERVER6, 7, socket.AF_INET6)
    name_server(SERVER)


def main():
    to_child, from_parent = os.pipe()
    to_parent, from_child = os.pipe()
    if os.fork() == 0:
        # The servers' namespace.
        os.close(from_parent)
        ctypes_unshare(0x40000000)
        os.write(from_child, b"x")
        os.read(to_child, 1)
        run("ip link set lo up")
        run("ip link set servers up")
        for address in [SERVER] + OTHERS:
            run(f"ip address add {address}/24 dev servers")
        run(f"ip address add {SERVER6}/64 dev servers nodad")
        servers()
        os.write(from_child, b"y")
        os.read(to_child, 1)
        os._exit(0)
    child = open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read().split()[0]
    os.read(to_parent, 1)
    run("ip link set lo up")
    run(f"ip link add outside type veth peer name servers netns {child}")
    run("ip link set outside up")
    run(f"ip address add {HOST}/24 dev outside")
    run(f"ip address add {HOST6}/64 dev outside nodad")
    # An address that takes what is sent to it and never answers.
    run("ip neighbour add 11.1.0.99 lladdr 02:00:00:00:00:99 dev outside nud permanent")
    # Servers of the host itself, which nobody may reach unless they are named.
    serve("127.0.0.1", 7, echo)
    with open(sys.argv[2], "w") as config:
        config.write(f"nameserver {SERVER}\noptions timeout:1 attempts:2\n")
    run(f"mount --bind {sys.argv[2]} {os.path.realpath('/etc/resolv.conf')}")
    os.write(from_parent, b"x")
    os.read(to_parent, 1)
    print("ready", os.getpid(), flush=True)
    sys.stdin.read()


def ctypes_unshare(flags):
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


main()
