"""A small Internet of the test's own: a "host" namespace and, beside it, one with servers.

    lab.py DIRECTORY [--watch] [--real=UID:GID]

Started in fresh network and mount namespaces, which become the host's. Says "ready" with the pid whose
namespaces are the host's and the names of the real servers that are up, and lives until its standard input
ends. No packet leaves it. In DIRECTORY are `asked`, the names that the outside name server was asked for,
and with --watch `arrived`, what came out of the host's namespace; the test's `turn` is for `TURNS`.
--real adds `servers.py`.
"""

import ctypes
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading

HOST, SERVER = ("11.1.0.1", "11.1.0.2")
HOST6, SERVER6 = ("2a00:1::1", "2a00:1::2")
# Further addresses of the host: the second of its network, and one of a network that is the host's as a whole.
HOST_TOO, HOST6_TOO = ("11.1.0.5", "2a00:2::1")
# Further addresses of the server.
OTHERS = ["11.1.0.3", "11.1.0.4"]


def run(line):
    subprocess.run(line.split(), check=True, stdout=subprocess.DEVNULL)


def serve(address, port, handle, family=socket.AF_INET):
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bind_to_any(listener, family)
    listener.bind((address, port))
    listener.listen(4096)

    def loop():
        while True:
            connection, peer = listener.accept()
            threading.Thread(target=guarded, args=(handle, connection, peer), daemon=True).start()

    threading.Thread(target=loop, daemon=True).start()


def bind_to_any(bound, family):
    """Bind to an address that the kernel takes packets for, and that no link has."""
    if family == socket.AF_INET6:
        ipv6_freebind = 78
        bound.setsockopt(socket.IPPROTO_IPV6, ipv6_freebind, 1)


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
    bind_to_any(server, family)
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
    "www.lab.example": [SERVER, SERVER6],
    "other.lab.example": [SERVER, SERVER6],
    # Names that resemble an allowed one.
    "notweb.test.example": [OTHERS[0]],
    "web.test.example.evil.example": [OTHERS[0]],
    "below.web.test.example": [OTHERS[0]],
    "xsub.example": [OTHERS[0]],
    "a.sub.example.evil.example": [OTHERS[0]],
    "xn--bcher-kva.example": [SERVER],
    "circle.example": "circle.example",
    # The host itself, by addresses that others reach it by as well.
    "own.example": [HOST, HOST6],
    "also-own.example": [HOST_TOO, HOST6_TOO, "::ffff:" + HOST],
}
# Addresses that a public name has no business to have: special-N.example.
SPECIAL = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.9.9.9", "169.254.1.1",
    "169.254.169.254", "172.16.0.1", "192.168.0.1", "198.18.0.16", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
    "fd00:ec2::254", "fd73:616e:6462:6f78::10", "fe80::1", "fec0::1", "ff02::1",
]
ZONE.update({f"special-{n}.example": [address] for n, address in enumerate(SPECIAL)})
# Names whose addresses change: the file `turn` says which it is.
TURNS = {"rebind.example": [[SERVER], ["127.0.0.1"], ["169.254.169.254", "::1"], ["127.0.0.1", SERVER]]}


def answer(query):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace"))
        at += query[at] + 1
    kind = struct.unpack(">H", query[at + 1 : at + 3])[0]
    question = query[12 : at + 5]
    name = ".".join(labels).lower()
    with open(os.path.join(sys.argv[1], "asked"), "a") as log:
        log.write(name + "\n")
    records, owner = [], b"\xc0\x0c"
    found = ZONE.get(name)
    if name in TURNS:
        with open(os.path.join(sys.argv[1], "turn")) as turn:
            found = TURNS[name][int(turn.read())]
    while isinstance(found, str) and len(records) < 16:
        target = b"".join(bytes([len(l)]) + l.encode() for l in found.split(".")) + b"\0"
        records.append(owner + struct.pack(">HHIH", 5, 1, 0, len(target)) + target)
        owner, found = target, ZONE.get(found)
    for address in found if isinstance(found, list) else []:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        data = socket.inet_pton(family, address)
        if kind == (28 if family == socket.AF_INET6 else 1):
            records.append(owner + struct.pack(">HHIH", kind, 1, 0, len(data)) + data)
    code = 0 if found is not None else 3
    header = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(records), 0, 0)
    return header + question + b"".join(records)


def name_server(address):
    def by_tcp(connection, _):
        with connection:
            while head := connection.recv(2, socket.MSG_WAITALL):
                reply = answer(connection.recv(struct.unpack(">H", head)[0], socket.MSG_WAITALL))
                connection.sendall(struct.pack(">H", len(reply)) + reply)

    serve(address, 53, by_tcp)
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


def servers(real):
    for address in [SERVER] + OTHERS:
        for port, handle in [(7, echo), (8080, http), (9, slow), (100, count), (101, reset)]:
            serve(address, port, handle)
        if not real:
            serve(address, 80, http)
            serve(address, 443, echo)
            udp_echo(address, 443)
    serve(SERVER6, 7, echo, socket.AF_INET6)
    if not real:
        serve(SERVER6, 80, http, socket.AF_INET6)
    udp_echo(SERVER, 7)
    udp_echo(SERVER6, 7, socket.AF_INET6)
    name_server(SERVER)


# For packets without their Ethernet header: of TCP those with SYN, and all of other protocols above IP.
OPENING = [
    (0x30, 0, 0, 0),  # 0: load the version
    (0x54, 0, 0, 0xF0),
    (0x15, 0, 5, 0x40),  # 2: IPv4? else 8
    (0x30, 0, 0, 9),
    (0x15, 0, 9, 6),  # 4: TCP? else 14
    (0xB1, 0, 0, 0),
    (0x50, 0, 0, 13),
    (0x05, 0, 0, 4),  # 7: to 12
    (0x15, 0, 4, 0x60),  # 8: IPv6? else 13
    (0x30, 0, 0, 6),
    (0x15, 0, 3, 6),  # 10: TCP? else 14
    (0x30, 0, 0, 53),
    (0x45, 1, 0, 0x02),  # 12: SYN? then 14
    (0x06, 0, 0, 0),  # 13: leave it
    (0x06, 0, 0, 128),  # 14: keep it
]


def watch(path):
    """Write down what arrives from the host's namespace: each destination once."""
    steps = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in OPENING))
    program = struct.pack("HxxxxxxP", len(OPENING), ctypes.addressof(steps))
    watcher = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
    watcher.setsockopt(socket.SOL_SOCKET, 26, program)  # SO_ATTACH_FILTER
    watcher.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)  # or as much as may be
    watcher.bind(("servers", 3))  # ETH_P_ALL
    seen = set()

    def note(packet):
        if packet[0] >> 4 == 4:
            protocol, address, rest = packet[9], packet[16:20], packet[(packet[0] & 15) * 4 :]
        else:
            protocol, address, rest = packet[6], packet[24:40], packet[40:]
        address = socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
        name = {6: "tcp", 17: "udp"}.get(protocol, str(protocol))
        port = struct.unpack(">H", rest[2:4])[0] if protocol in (6, 17) else 0
        if (name, address, port) not in seen:
            seen.add((name, address, port))
            with open(path, "a") as log:
                log.write(f"{name} {address} {port}\n")

    def loop():
        while True:
            try:
                packet, origin = watcher.recvfrom(128)
            except OSError:  # The other end is gone, and the lab with it.
                return
            if origin[2] != 4:  # PACKET_OUTGOING: the servers' own
                note(packet)

    open(path, "w").close()
    threading.Thread(target=loop, daemon=True).start()


def start_real_servers(ids):
    """Start `servers.py` in a process namespace of its own, as the user that `ids` names."""
    # Servers below 1024 without being root.
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", "w") as setting:
        setting.write("0")
    uid, gid = ids.split(":")
    directory = os.path.join(sys.argv[1], "real")
    os.mkdir(directory)
    os.chmod(sys.argv[1], 0o755)
    unshare = ["unshare", "--pid", "--fork"]
    become = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
    if open("/proc/self/uid_map").read().split()[2] == "1":
        # Root of a user namespace with one id: it is given its own id back, in another one.
        unshare, become = [*unshare, "--user", f"--map-user={uid}", f"--map-group={gid}"], []
    else:
        os.chown(directory, int(uid), int(gid))
    # That user may not be able to read it where it lies.
    script = shutil.copy(os.path.join(os.path.dirname(__file__), "servers.py"), sys.argv[1])
    program = ["/usr/bin/python3", script, directory, SERVER, SERVER6]
    servers = subprocess.Popen(
        unshare + ["--"] + become + program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return servers.stdout.readline().strip(), servers


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
        if "--watch" in sys.argv:
            watch(os.path.join(sys.argv[1], "arrived"))
        real = [word.removeprefix("--real=") for word in sys.argv if word.startswith("--real=")]
        servers(real)
        up, real_servers = start_real_servers(real[0]) if real else ("", None)
        os.write(from_child, b"y" + up.encode())
        os.read(to_child, 1)
        if real_servers:
            real_servers.communicate()
        os._exit(0)
    child = open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read().split()[0]
    os.read(to_parent, 1)
    run("ip link set lo up")
    run(f"ip link add outside type veth peer name servers netns {child}")
    run("ip link set outside up")
    run(f"ip address add {HOST}/24 dev outside")
    run(f"ip address add {HOST6}/64 dev outside nodad")
    run(f"ip address add {HOST_TOO}/24 dev outside")
    run("ip route add local 2a00:2::/64 dev lo")
    # An address that takes what is sent to it and never answers.
    run("ip neighbour add 11.1.0.99 lladdr 02:00:00:00:00:99 dev outside nud permanent")
    # Servers of the host itself, which nobody may reach unless they are named.
    serve("127.0.0.1", 7, echo)
    for address in [HOST, HOST_TOO]:
        serve(address, 70, echo)
        udp_echo(address, 70)
    for address in [HOST6, HOST6_TOO]:
        serve(address, 70, echo, socket.AF_INET6)
        udp_echo(address, 70, socket.AF_INET6)
    config = os.path.join(sys.argv[1], "resolv.conf")
    with open(config, "w") as file:
        file.write(f"nameserver {SERVER}\noptions timeout:1 attempts:2\n")
    run(f"mount --bind {config} {os.path.realpath('/etc/resolv.conf')}")
    os.write(from_parent, b"x")
    up = os.read(to_parent, 4096)[1:].decode()
    print("ready", os.getpid(), up, flush=True)
    sys.stdin.read()
    os.close(from_parent)
    os.wait()
    # A lab that is kept in a static variable has nobody else to do it.
    shutil.rmtree(sys.argv[1], ignore_errors=True)


def ctypes_unshare(flags):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


main()
