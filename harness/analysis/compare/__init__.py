"""Which is faster: two sides, in pairs."""
