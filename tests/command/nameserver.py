"""A name server on loopback of a network namespace, whose answers depend on the name.

First word: a file to make once it listens. Also listens on port 8080 of 127.0.0.1, and on port 8081 of ::1.
"""
import fcntl
import socket
import struct
import sys
import threading
import time

NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3
A, AAAA = 1, 28
asked = {}  # name → when for the first time


def lookup(name, kind, tcp):
    """Status, whether it is cut short, and the addresses."""
    first = time.monotonic() < asked.setdefault(name, time.monotonic()) + 0.5
    if name == "later.test" and first:
        return NXDOMAIN, False, []
    if name == "failing.test" and first:
        return SERVFAIL, False, []
    if name == "large.test" and not tcp:
        return NOERROR, True, []
    if name == "six.test":
        return NOERROR, False, [socket.inet_pton(socket.AF_INET6, "::1")] if kind == AAAA else []
    known = ("plain.test", "later.test", "failing.test", "large.test", "inside.e.test")
    if name not in known:
        return NXDOMAIN, False, []
    count = 100 if name == "large.test" else 1
    return NOERROR, False, [socket.inet_aton("127.0.0.1")] * count if kind == A else []


def answer(query, tcp):
    """RFC 1035, section 4.1."""
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    question = query[12 : at + 5]
    kind = struct.unpack(">H", query[at + 1 : at + 3])[0]
    status, cut, addresses = lookup(".".join(labels).lower(), kind, tcp)
    flags = 0x8180 | (0x0200 if cut else 0) | status
    head = query[:2] + struct.pack(">HHHHH", flags, 1, len(addresses), 0, 0)
    records = [struct.pack(">HHHIH", 0xC00C, kind, 1, 60, len(address)) + address for address in addresses]
    return head + question + b"".join(records)


def serve_tcp(listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=converse, args=(connection,), daemon=True).start()


def converse(connection):
    with connection, connection.makefile("rb") as stream:
        while length := stream.read(2):
            text = answer(stream.read(struct.unpack(">H", length)[0]), True)
            connection.sendall(struct.pack(">H", len(text)) + text)


with socket.socket() as control:  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
    fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
tcp = socket.create_server(("127.0.0.1", 53))
threading.Thread(target=serve_tcp, args=(tcp,), daemon=True).start()
services = [socket.create_server(("127.0.0.1", 8080)), socket.create_server(("::1", 8081), family=socket.AF_INET6)]
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.9", 53))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 53))
open(sys.argv[1], "w").close()
while True:
    query, peer = udp.recvfrom(4096)
    udp.sendto(answer(query, False), peer)
