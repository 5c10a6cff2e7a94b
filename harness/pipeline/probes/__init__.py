"""Where livekit's nodes are stamped."""
