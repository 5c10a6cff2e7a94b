"""Whose certificates are trusted: one answer for the clients of a run and for the checks of it."""

import os
import ssl
from functools import cache

import certifi

__all__ = ["trusted"]


@cache
def trusted() -> ssl.SSLContext:
    """Return a context that trusts the system's authorities and those that certifi publishes.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name others in their place, such as a private one. Read
    once: reading takes some 30 ms. Sessions of TLS are not resumed by it, so that a cold connection
    is as cold as with a context of its own.
    """
    context = ssl.create_default_context()
    if not (os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")):
        context.load_verify_locations(certifi.where())
    return context
