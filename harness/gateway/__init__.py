"""The gateway: a loopback server that speaks the providers' wire protocols.

It runs in its own process (``python -m harness.gateway``), delays every message by absolute
deadlines drawn from a named, seeded profile, and writes its own truth: when each message left, on
the clock that the harness uses. Start it from Python with ``harness.gateway.process``.
"""

__all__: list[str] = []
