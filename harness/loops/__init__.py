"""Event loops of a lane: one that knows whose work it runs, and one whose clock jumps."""
