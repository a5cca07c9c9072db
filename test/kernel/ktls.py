"""What runs in the virtual machine with the kernel's module `tls`: does content leave by sendfile, encrypted?

    python3 -m test.kernel.ktls        says what it finds on its standard output, as a line of JSON

The certificate, the options and the question to the kernel are those of XGet. Its event loop is left out: it needs
packages that are not in the machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

from xget_lib.process.certificates import contexts, own_certificate
from xget_lib.process.ktls import encrypts_in_kernel

SIZE = 3_000_017
"""Bytes: many records, and not a whole number of them."""


def look() -> dict[str, Any]:
    """What there is to say of one connection over which a file is sent."""
    path, content = Path("/content"), os.urandom(SIZE)
    path.write_bytes(b"header" + content)
    server, client = contexts()[:2]
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    own_certificate(None, server)
    listening = socket.create_server(("127.0.0.1", 0))
    said: dict[str, Any] = {"kernel": os.uname().release, "openssl": ssl.OPENSSL_VERSION}

    def serve() -> None:
        connection = server.wrap_socket(listening.accept()[0], server_side=True)
        said["in_kernel"] = encrypts_in_kernel(connection)
        connection.write(b"header")
        if said["in_kernel"]:
            with path.open("rb") as file:
                sent = 6
                while sent < 6 + SIZE:
                    sent += os.sendfile(connection.fileno(), file.fileno(), sent, 6 + SIZE - sent)
        connection.close()

    serving = threading.Thread(target=serve, daemon=True)  # if the client fails, the machine goes off
    serving.start()
    received = b""
    connected = socket.socket()  # create_connection needs encodings that are not in the machine
    connected.connect(listening.getsockname())
    with client.wrap_socket(connected) as connection:
        said["cipher"] = connection.cipher()
        while part := connection.read(1 << 16):
            received += part
    serving.join()
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    return {**said, "bytes": len(received), "exact": hashlib.sha256(received).hexdigest() == expected}


if __name__ == "__main__":
    print(json.dumps(look()), flush=True)
