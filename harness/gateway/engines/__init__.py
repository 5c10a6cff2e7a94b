"""What stands behind the protocols: recognisers, a synthesiser, scripted replies.

Engines that compute run in worker processes (`worker`), so that the gateway's event loop keeps its
deadlines. None of them is on a timed path: a profile's latency is kept unless the engine is slower,
and then the truth says by how much.
"""

__all__: list[str] = []
