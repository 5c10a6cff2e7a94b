"""What numbers of a sample say: distributions, intervals, tests, the rule of the gate."""
