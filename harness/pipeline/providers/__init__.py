"""One module for each provider: settings in, livekit plugins out."""
