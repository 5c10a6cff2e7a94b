"""A loopback server that speaks the providers' wire protocols."""
