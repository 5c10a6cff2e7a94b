"""What a request is refused with."""

from collections.abc import Mapping
from typing import Any

__all__ = ["Refusal", "error_body"]

_ERROR_TYPES: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request_error", "The request is not valid"),
    401: ("authentication_error", "Incorrect API key provided"),
    403: ("permission_error", "Model not in plan"),
    404: ("not_found_error", "The model does not exist or you do not have access to it"),
    429: (
        "rate_limit_error",
        "Rate limit exceeded: monthly window (1500/1500 requests used)",
    ),
    500: ("server_error", "The server had an error while processing your request"),
    503: ("service_unavailable", "The service is temporarily overloaded"),
}


def error_body(status: int, message: str | None = None) -> dict[str, Any]:
    """Return an error as OpenAdapter writes it, with the status as an integer code."""
    kind, words = _ERROR_TYPES.get(status, ("api_error", "Error"))
    return {"error": {"message": message or words, "type": kind, "code": status}}


class Refusal(Exception):  # noqa: N818  # an answer to the client, not a defect
    """A request that is answered with an error.

    Args:
        status: the HTTP status.
        message: the words in the error's body; the provider's usual ones if None.
    """

    def __init__(self, status: int, message: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(status, message)
