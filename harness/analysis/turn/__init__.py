"""What a turn says: its metrics, its critical path, and where each millisecond went."""
