"""What is written down while a trial is played, and the watch over the machine."""
