"""What a run is on disk: its plan, its trials, its environment."""
