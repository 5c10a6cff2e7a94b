"""LiveKit Inference's protocols."""
