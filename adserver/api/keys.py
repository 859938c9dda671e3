"""``Authorization: Bearer``: whose key came along."""

from adserver.api.messages import Head
from adserver.api.ports import Holder, KeyFinder
from adserver.services.refusals import Refused

KEY_CHARS_MAX = 256


def holder_of(head: Head, find: KeyFinder) -> Holder | None:
    """The holder of the request's key, None if it carries none. A key that is not good is refused (401)
    rather than ignored: the caller counts on it."""
    value = head.header(b"authorization")
    if value is None:
        return None
    scheme, _, text = value.decode("latin-1").partition(" ")
    text = text.strip()
    holder = find(text) if scheme.lower() == "bearer" and 0 < len(text) <= KEY_CHARS_MAX else None
    if holder is None:
        raise Refused(401, "this key is not known here")
    return holder


def needed(head: Head, find: KeyFinder) -> Holder:
    """The same where nothing is done without a key."""
    holder = holder_of(head, find)
    if holder is None:
        raise Refused(401, "send a key: Authorization: Bearer <key>")
    return holder
