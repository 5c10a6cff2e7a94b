"""turnbench: latency benchmark and evaluation harness for LiveKit voice agents."""
