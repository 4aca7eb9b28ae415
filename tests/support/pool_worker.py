#!/usr/bin/python3
"""A worker of a pool that does what its clients say: for the broker's tests.

    pool_worker.py PATH-OF-EXAMPLES-WORKER CREDITS

A client says one line: what to do, and words for that.
"""

import importlib.util
import os
import socket
import sys
import threading
import time

spec = importlib.util.spec_from_file_location("worker", sys.argv[1])
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)

if os.environ.get("VERSION") == "broken":
    sys.exit(7)

NAME = os.urandom(4).hex()
channel = worker.Channel(credits=int(sys.argv[2]))
speaking = threading.Lock()
# How many connections it has.
held = 0


def dial(words):
    """Try to reach a TCP address in several ways: what came of each."""
    address = (words[0], int(words[1]))

    def plainly():
        socket.create_connection(address, 5).close()

    def unix():
        socket.socket(socket.AF_UNIX).close()

    def datagram():
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", address)

    said = []
    for way in (plainly, unix, datagram):
        try:
            way()
            said.append("reached")
        except OSError as error:
            said.append(error.strerror)
    return ", ".join(said)


def act(connection, stream):
    words = stream.readline().decode().split()
    what, words = (words[0], words[1:]) if words else ("nothing", [])
    if what == "echo":
        return " ".join([NAME, *words])
    if what == "who":
        return f"{connection.listener} {connection.peer} {connection.local}"
    if what == "hold":
        stream.write(f"{NAME}\n".encode())
        stream.flush()
        stream.read()
        return "held"
    if what == "keep":
        # Whatever becomes of the connection.
        time.sleep(3600)
    if what == "dial":
        return dial(words)
    if what == "environment":
        return " ".join(sorted(os.environ))
    if what == "variable":
        return os.environ.get(words[0], "")
    if what == "last":
        # Once everybody else has been given back.
        stream.write(f"{NAME}\n".encode())
        stream.flush()
        while held > 1:
            time.sleep(0.001)
        os._exit(3)
    if what == "die":
        os._exit(3)
    if what == "garbage":
        channel.socket.send(b"garbage")
        stream.read()
    if what == "lie":
        with speaking:
            channel.tell(worker.DONE, [connection.id + 1000000])
        stream.read()
    if what == "close":
        # Once the main thread waits for the next one, which it then still gets: recvmsg(2) of x86_64, aarch64.
        while open(f"/proc/self/task/{os.getpid()}/syscall").read().split()[0] not in ("47", "212"):
            time.sleep(0.01)
        # Another descriptor of the same channel would keep it open.
        with speaking:
            os.dup2(os.open("/dev/null", os.O_RDWR), channel.socket.fileno())
        stream.write(f"{NAME}\n".encode())
        stream.flush()
        time.sleep(3600)
    if what == "shut":
        channel.socket.shutdown(socket.SHUT_WR)
        stream.read()
    return ""


def serve(connection):
    try:
        with connection.socket.makefile("rwb") as stream:
            stream.write(act(connection, stream).encode())
    except OSError:
        pass  # clients come and go as they like
    connection.socket.close()
    global held
    with speaking:
        channel.done(connection)
        held -= 1


try:
    for connection in channel:
        with speaking:
            held += 1
        threading.Thread(target=serve, args=(connection,)).start()
except OSError:
    pass  # it was closed; a complaint would get into the middle of a line of the broker's events
