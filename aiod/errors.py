"""One error type per HTTP status: raised by services, rendered by the API.

Owns the mapping from a kind of failure to its status; knows nothing of HTTP libraries,
routes or records.
"""


class AiodError(Exception):
    """A failure with a message fit for a user; `status` is its HTTP status."""

    status = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotModifiedError(AiodError):
    """The object is already in the state asked for (304)."""

    status = 304


class InvalidParameterError(AiodError):
    """The request cannot be understood or names an impossible value (400)."""

    status = 400


class UnauthorizedError(AiodError):
    """Credentials are missing or refused (401)."""

    status = 401


class ForbiddenError(AiodError):
    """The caller may not do this (403)."""

    status = 403


class NotFoundError(AiodError):
    """No such container, image, exec or other object (404)."""

    status = 404


class ConflictError(AiodError):
    """The object's state, or another object's name, forbids it (409)."""

    status = 409


class TooLargeError(AiodError):
    """The body exceeds what the route accepts (413)."""

    status = 413


class InternalError(AiodError):
    """The engine or the kernel failed; the message names the step (500)."""

    status = 500


class UnsupportedError(AiodError):
    """A feature that aiod does not have; the message names the option (501)."""

    status = 501


class UnavailableError(AiodError):
    """The engine cannot serve this now, for example while it shuts down (503)."""

    status = 503
