"""TLS in front of a server that has none."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import trustme


def pump(source: socket.socket, target: socket.socket, heard: bytearray | None = None) -> None:
    with suppress(OSError, ssl.SSLError):
        while data := source.recv(65536):
            if heard is not None:
                heard.extend(data)
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def tls_in_front_of(
    port: int,
    authority: trustme.CA,
    *,
    clients: trustme.CA | None = None,
    newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
    heard: bytearray | None = None,
) -> Iterator[int]:
    """A port of 127.0.0.1 that speaks TLS, as a cloud's servers do: the embedded broker is built without it.

    Clients must have a certificate of the authority `clients`, if there is one, and speak TLS up to `newest`. `heard`
    gets what they say.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = newest
    authority.issue_cert("127.0.0.1").configure_cert(context)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        clients.configure_trust(context)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    threading.Thread(target=serve, args=(client,), daemon=True).start()

        def serve(client: socket.socket) -> None:
            with (
                suppress(OSError, ssl.SSLError),
                context.wrap_socket(client, server_side=True) as safe,
                socket.create_connection(("127.0.0.1", port)) as broker,
            ):
                threading.Thread(target=pump, args=(broker, safe), daemon=True).start()
                pump(safe, broker, heard)

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
