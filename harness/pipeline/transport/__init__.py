"""What is stamped at the sockets, and how the bytes are read afterwards."""
