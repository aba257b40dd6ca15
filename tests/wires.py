"""Raw TCP servers with scripted behaviour below HTTP. Loopback only."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nomos._core.reply_identity import HEADER, MEMBER

Serve = Callable[["Peer"], None]


@dataclass
class Peer:
    """One accepted connection."""

    sock: socket.socket
    stopped: threading.Event

    def request(self) -> bytes:
        """Read one request, its body included; empty if the client hung up."""
        got = b""
        while b"\r\n\r\n" not in got:
            piece = self.sock.recv(65536)
            if not piece:
                return b""
            got += piece
        head, _, body = got.partition(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        while len(body) < length:
            body += self.sock.recv(65536)
        return head + b"\r\n\r\n" + body

    def reply(self, request: bytes, body: dict[str, Any]) -> None:
        """Answer in JSON, naming the request."""
        content = json.dumps(body | {MEMBER: call_id(request)}).encode()
        self.sock.sendall(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
            % (len(content), content)
        )

    def drip(self, content: bytes, every: float) -> None:
        """Send a byte at a time, until all is sent, the client is gone, or the test ends."""
        for byte in content:
            if self.stopped.wait(every):
                return
            self.sock.sendall(bytes([byte]))

    def silence(self) -> None:
        """Say nothing until the test ends."""
        self.stopped.wait(120)


def call_id(request: bytes) -> str:
    """The id by which a request wants to be named."""
    name = HEADER.encode() + b": "
    return next(
        line[len(name) :].decode()
        for line in request.split(b"\r\n")
        if line.lower().startswith(name)
    )


@dataclass
class Wire:
    """A running server: `count` is how many connections came."""

    port: int = 0
    count: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(serve: Serve, context: ssl.SSLContext | None = None) -> Iterator[Wire]:
    """Call `serve` in a thread for each connection, over TLS if there is a context."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    listener.settimeout(0.05)
    wire = Wire(listener.getsockname()[1])

    def accept() -> None:
        while not wire.stopped.is_set():
            try:
                sock, _ = listener.accept()
            except TimeoutError:
                continue
            wire.count += 1
            threading.Thread(target=one, args=(sock,), daemon=True).start()

    def one(sock: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.closing(sock):
            sock.settimeout(60)
            if context is not None:
                sock = context.wrap_socket(sock, server_side=True)
            with contextlib.closing(sock):
                serve(Peer(sock, wire.stopped))

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield wire
    finally:
        wire.stopped.set()
        thread.join()
        listener.close()


def tunnel(seen: list[bytes]) -> Serve:
    """A proxy that takes CONNECT and passes bytes on; `seen` gets the heads of its requests."""

    def serve(peer: Peer) -> None:
        head = peer.request()
        seen.append(head)
        host, _, port = head.split()[1].decode().rpartition(":")
        del host  # every name leads to this machine here
        with socket.create_connection(("127.0.0.1", int(port)), 10) as other:
            peer.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            pumps = [
                threading.Thread(target=_pump, args=ends, daemon=True)
                for ends in ((peer.sock, other), (other, peer.sock))
            ]
            for pump in pumps:
                pump.start()
            end = time.monotonic() + 30
            while any(pump.is_alive() for pump in pumps) and time.monotonic() < end:
                if peer.stopped.wait(0.01):
                    return

    return serve


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)


@dataclass
class Authority:
    """A private certificate authority, and a server's certificate of it."""

    ca_file: Path
    server: ssl.SSLContext


def authority(folder: Path, names: tuple[str, ...] = ("127.0.0.1", "localhost")) -> Authority:
    """Make one; its server is called by `names`."""
    ca_key, ca = _certificate("a private authority", (), None)
    key, cert = _certificate("a server", names, (ca_key, ca))
    ca_file, pair = folder / "ca.pem", folder / "server.pem"
    ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    pair.write_bytes(
        cert.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    return Authority(ca_file, context)


Signed = tuple[ec.EllipticCurvePrivateKey, x509.Certificate]


def _certificate(name: str, hosts: tuple[str, ...], by: Signed | None) -> Signed:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, issuer = (key, subject) if by is None else (by[0], by[1].subject)
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
            critical=False,
        )
    )
    if by is None:
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        made = made.add_extension(usage, critical=True)
    else:
        made = made.add_extension(x509.SubjectAlternativeName(map(_name, hosts)), critical=False)
    return key, made.sign(signer, hashes.SHA256())


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
