"""What stands between the network and a gateway: the listening socket, origins, addresses, file limits."""

from __future__ import annotations

import ipaddress
import resource
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from websockets.datastructures import Headers

BACKLOG = 4096
SEND_BUFFER = 64 * 1024  # bytes in the kernel for a viewer who does not read
VANISHED_S = 20  # without acknowledging anything
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def listen(bind: str, port: int) -> socket.socket:
    """A socket that shares its port with other gateways. What is set here is inherited by every socket it
    accepts."""
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, VANISHED_S * 1000)
    listening.setblocking(False)
    listening.bind((bind, port))
    return listening


def file_limit() -> int:
    """Raise the limit of open files as far as it goes and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Origins:
    """The pages that may open sockets. Programs, which send no Origin, need only a ticket."""

    def __init__(self, origins: Iterable[str]) -> None:
        """On one's own machine the page may be opened by any name that the machine has for itself."""
        self._allowed: set[str] = set()
        for origin in origins:
            parts = urlsplit(origin)
            self._allowed.add(f"{parts.scheme}://{parts.netloc}")
            host, colon, port = parts.netloc.rpartition(":")
            if host in _LOOPBACK:
                self._allowed |= {f"{parts.scheme}://{name}{colon}{port}" for name in _LOOPBACK}

    def allow(self, headers: Headers) -> bool:
        origins = headers.get_all("Origin")
        return not origins or (len(origins) == 1 and origins[0] in self._allowed)


class Proxies:
    """The proxies whose word about who is behind them is believed."""

    def __init__(self, networks: Iterable[str]) -> None:
        """`networks` like 10.0.0.0/8. Raises ValueError."""
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def behind(self, proxy: str, headers: Headers) -> str:
        """The address behind `proxy`: of X-Forwarded-For the last that is not a proxy of ours. What stands
        before it may be made up by the client."""
        forwarded = ",".join(headers.get_all("X-Forwarded-For")).split(",")
        addresses = [address.strip() for address in forwarded if address.strip()]
        return next((address for address in reversed(addresses) if address not in self), proxy)
