"""How far away the other end of a connection is, as the kernel knows it.

TCP measures the round trip of what it sends for its own purposes, so asking costs one system call
and no packet. What is told is the least of the recent past (``tcpi_min_rtt``, five minutes by
default): the smoothed value grows by up to 40 ms where the other side delays its acknowledgements
until it has an answer. The other end is the machine that ends TCP: a service's edge, or a proxy.
"""

import socket
import struct
import sys
from typing import Any, Final

__all__ = ["path_rtt_ns"]

_MIN_RTT: Final = struct.Struct("=I")
_AT: Final = 148
"""Where ``tcpi_min_rtt`` stands in Linux's ``struct tcp_info`` (since 4.6), in microseconds."""
_UNKNOWN: Final = 0xFFFFFFFF


def path_rtt_ns(sock: Any) -> int | None:
    """Return the round trip of a TCP connection in nanoseconds; None where nobody knows.

    Args:
        sock: a socket, or asyncio's stand-in for one, or None.
    """
    if sock is None or not sys.platform.startswith("linux"):
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _AT + _MIN_RTT.size)
    except (OSError, AttributeError):
        # Closed already, or no TCP.
        return None
    if len(info) < _AT + _MIN_RTT.size:
        return None
    (microseconds,) = _MIN_RTT.unpack_from(info, _AT)
    return None if microseconds == _UNKNOWN else microseconds * 1000
