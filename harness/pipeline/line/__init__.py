"""The caller's line: the microphone that is paced, and the ear that plays out."""
