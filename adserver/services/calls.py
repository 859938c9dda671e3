"""A call on a tracking URL, as the use cases see it."""

from msgspec import Struct


class Call(Struct, frozen=True):
    """``ip`` and ``user_agent`` are the caller's ("" where unknown); ``prefetch``: the browser said it
    fetches ahead of the user; ``publisher_key``: the publisher whose key came along, if one did;
    ``batched``: it tells of events that happened before, perhaps of several."""

    user_agent: str = ""
    ip: str = ""
    method: str = "GET"
    prefetch: bool = False
    publisher_key: str | None = None
    batched: bool = False
