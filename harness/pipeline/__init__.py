"""The only package that imports livekit: drivers, source, sink, probes and providers."""
