"""What a run says: estimates by candidate, words, costs, and how far all that can be trusted."""
