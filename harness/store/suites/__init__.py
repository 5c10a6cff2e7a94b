"""What a suite is on disk, and what is wrong with it."""
