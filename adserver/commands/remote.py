"""A running server as a command sees it: one call at a time, faults as one clear line."""

import http.client
import json
from typing import Any, Final
from urllib.parse import urlsplit

from adserver.options import Failed, Wrong

_TIMEOUT_S: Final = 30.0
_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
_TOLD: Final = 20


class Remote:
    """``url``: where the server is, such as ``http://127.0.0.1:8000``; ``key``: a management key."""

    def __init__(self, url: str, key: str) -> None:
        """Raises Wrong."""
        split = urlsplit(url)
        if split.scheme not in ("http", "https") or not split.hostname or split.query or split.fragment:
            raise Wrong(f"{url} is not the URL of a server, such as http://127.0.0.1:8000")
        if not key or not (key.isascii() and key.isprintable()):
            raise Wrong("a key is needed: --key or ADSERVER_KEY (adserver keys create makes one)")
        try:
            self._address = (split.hostname, split.port)
        except ValueError:
            raise Wrong(f"{url} has no good port") from None
        self._secure = split.scheme == "https"
        self._path = split.path.rstrip("/")
        self._url, self._key = url, key

    def post(self, path: str, body: object) -> Any:
        """The answer's JSON. Raises Wrong for what the server refuses, Failed if it cannot answer."""
        return _decoded(self._asked("POST", path, json.dumps(body).encode()), self._url)

    def get(self, path: str) -> Any:
        """The same of what is only read."""
        return _decoded(self._asked("GET", path), self._url)

    def text(self, path: str, media: str) -> str:
        """The same as a text of this media type."""
        return self._asked("GET", path, accept=media).decode("utf-8", "replace")

    def _asked(self, method: str, path: str, body: bytes = b"", accept: str = "application/json") -> bytes:
        status, answer = self._call(method, path, body, accept)
        if len(answer) > _ANSWER_BYTES_MAX:
            raise Failed(f"{self._url} answers more than {_ANSWER_BYTES_MAX} bytes: ask for less")
        if status < 300:
            return answer
        fault = Wrong if 400 <= status < 500 else Failed
        raise fault(f"{self._url} says {status}: {_problem(answer)}")

    def _call(self, method: str, path: str, body: bytes, accept: str) -> tuple[int, bytes]:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(*self._address, timeout=_TIMEOUT_S)
        headers = {"authorization": f"Bearer {self._key}", "accept": accept}
        headers |= {"content-type": "application/json"} if body else {}
        try:
            connection.request(method, self._path + path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(_ANSWER_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"{self._url} does not answer: {error or type(error).__name__}") from error
        finally:
            connection.close()


def _decoded(answer: bytes, url: str) -> Any:
    try:
        return json.loads(answer)
    except ValueError:
        raise Failed(f"{url} answers something that is not JSON: is it an ad server?") from None


def _problem(answer: bytes) -> str:
    """What a problem document says, in a line."""
    try:
        told = json.loads(answer)
        errors = [f"{error['path']}: {error['message']}" for error in told.get("errors", ())]
        return "; ".join([str(told.get("detail") or told["title"]), *errors[:_TOLD]])
    except (ValueError, KeyError, TypeError, AttributeError):
        return "no reason given"
