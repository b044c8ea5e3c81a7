"""A request that the model server answers with an error."""


class RequestError(Exception):
    """One clear line for the client, with the HTTP status that it is sent under.

    Args:
        status: HTTP status, 4xx for what the client can put right.
        message: one line.
        retry_after: seconds after which the same request may succeed; None to say nothing.
    """

    def __init__(self, status, message, retry_after=None):
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after

    @property
    def headers(self):
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
