"""Put this folder on PYTHONPATH, and a process and its children reach no other machine.

Every attempt is refused and written to the file in NO_NETWORK_LOG, because a library may swallow
the error. The loopback stays open: notebook kernels talk over it.
"""

import os
import socket

_LOCAL = {"", "localhost", "127.0.0.1", "::1", "0.0.0.0", socket.gethostname()}
_connect = socket.socket.connect
_getaddrinfo = socket.getaddrinfo


def _refuse(host):
    with open(os.environ["NO_NETWORK_LOG"], "a", encoding="utf-8") as log:
        log.write(f"{host}\n")
    raise ConnectionRefusedError(f"this test lets nothing reach {host}")


def _guarded_connect(self, address):
    if isinstance(address, tuple) and address[0] not in _LOCAL:
        _refuse(address[0])
    return _connect(self, address)


def _guarded_getaddrinfo(host, *args, **kwargs):
    name = host.decode() if isinstance(host, bytes) else host
    if name is not None and name not in _LOCAL:
        _refuse(name)
    return _getaddrinfo(host, *args, **kwargs)


socket.socket.connect = _guarded_connect
socket.getaddrinfo = _guarded_getaddrinfo
