"""What every call of the gateway shares: its configuration, its request, its truth."""
