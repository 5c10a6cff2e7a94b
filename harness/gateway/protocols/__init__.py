"""What the gateway speaks: one module or folder for each wire protocol, found by its place."""
