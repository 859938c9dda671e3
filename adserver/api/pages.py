"""Every path that is not hot: operations as data, routed by Starlette, answered like the hot ones by
functions that know nothing of a framework."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from adserver.api.envelope import measured
from adserver.api.intake import Disconnected, closes, read_body
from adserver.api.keys import needed
from adserver.api.messages import Head, Headers, Reply, not_allowed, problem, refusal
from adserver.api.ports import Holder, KeyFinder, Log, Metrics
from adserver.domain import limits
from adserver.domain.changes import Unread
from adserver.services.refusals import Refused


class Asked(Struct):
    """A request for a page. ``params``: of the path template; ``holder``: of the key, where one is needed."""

    head: Head
    params: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    holder: Holder | None


class Operation(Struct, frozen=True):
    """One method of one path: what is served and what is documented. ``request``: the body's type, None
    without a body; ``answers``: status -> the body's type, or a text that describes it."""

    method: str
    path: str
    summary: str
    tag: str
    act: Callable[[Asked], Awaitable[Reply]]
    answers: Mapping[int, Any]
    request: Any = None
    secured: bool = False
    query: Mapping[str, str] = {}


class Unbuilt(Struct, frozen=True):
    """A path of the contract that is reserved: refused with a clear error until its issue comes."""

    path: str
    what: str


class Guard:
    """Turns whatever a handler raises into one answer, one line of the log and one step of a counter."""

    def __init__(self, metrics: Metrics, log: Log) -> None:
        self._metrics = metrics
        self._log = log

    async def answer(
        self, name: str, head: Head, limit: int, act: Awaitable[Reply], request_id: str
    ) -> Reply:
        """The reply of ``act``. Raises Disconnected alone."""
        try:
            reply = await act
        except Disconnected:
            raise
        # The last resort: a fault of ours in one request must not become everybody's.
        except Exception as error:
            reply = self.blamed(name, error, request_id)
        return self.settled(name, head, limit, reply, request_id)

    def blamed(self, name: str, error: Exception, request_id: str) -> Reply:
        """The reply to what a handler raised."""
        if isinstance(error, Refused):
            return refusal(error)
        if isinstance(error, Unread):
            return problem(503, str(error))
        self._log.failure("a request failed", error, route=name, request_id=request_id)
        return problem(500)

    def settled(self, name: str, head: Head, limit: int, reply: Reply, request_id: str) -> Reply:
        """The reply as it leaves, and noted."""
        if closes(head, limit, reply.status):
            reply.headers = (*reply.headers, (b"connection", b"close"))
        self.note(name, reply.status, request_id)
        return reply

    def failed(self, what: str, error: Exception) -> None:
        """A fault of ours outside of any request."""
        self._log.failure(what, error)

    def note(self, name: str, status: int, request_id: str) -> None:
        if status >= 400:
            self._metrics.refused(name, status)
            if status < 500:
                self._log.refused(name, status, request_id)


class Page:
    """One path: a plain ASGI callable that Starlette routes to. ``operations``: method -> operation."""

    def __init__(self, operations: Iterable[Operation], guard: Guard, find_key: KeyFinder) -> None:
        self.operations = {operation.method: operation for operation in operations}
        self.path = next(iter(self.operations.values())).path
        self._guard = guard
        self._find_key = find_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = head_of(scope)
        operation = self.operations.get("GET" if head.method == "HEAD" else head.method)
        limit = limits.MANAGEMENT_BYTES if operation is not None and operation.request is not None else 0
        act = self._act(operation, head, scope, receive, limit)
        try:
            reply = await self._guard.answer(self.path, head, limit, act, scope["state"]["request_id"])
        except Disconnected:
            return
        await send_reply(send, reply, measured(reply))

    async def _act(
        self, operation: Operation | None, head: Head, scope: Scope, receive: Receive, limit: int
    ) -> Reply:
        if operation is None:
            return not_allowed(tuple(self.operations), _missing(head.method))
        # The key first: a stranger's sixteen mebibytes are not worth reading.
        holder = needed(head, self._find_key) if operation.secured else None
        query = _query(operation, Request(scope).query_params.multi_items())
        body = await read_body(head, receive, limit) if limit else b""
        return await operation.act(Asked(head, scope["path_params"], query, body, holder))


def _query(operation: Operation, given: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Name -> value. A misspelt parameter would be an answer to another question, so it is refused (Refused,
    400), and so is one that is there twice; except of pages that need no key: who probes may add what they
    like."""
    query = dict[str, str]()
    errors = list[tuple[str, str]]()
    for name, value in given:
        if operation.secured and (name in query or name not in operation.query):
            known = ", ".join(operation.query) or "none"
            errors.append(
                (name[: limits.SLUG_CHARS], "given twice" if name in query else f"known are {known}")
            )
        query[name] = value
    if errors:
        raise Refused(
            400, "a parameter that is not known here, or twice", errors[: limits.PROBLEMS_PER_DOCUMENT]
        )
    return query


def _missing(method: str) -> str:
    return "PATCH is not built yet: send the whole object with PUT" if method == "PATCH" else ""


def head_of(scope: Scope) -> Head:
    """The head of an ASGI request."""
    client = scope.get("client")
    path = scope["raw_path"].decode("latin-1")
    return Head(scope["method"], path, scope["query_string"], scope["headers"], client[0] if client else "")


async def send_reply(send: Send, reply: Reply, headers: Headers) -> None:
    start = {"type": "http.response.start", "status": reply.status, "headers": list(headers)}
    await send(start)
    await send({"type": "http.response.body", "body": reply.body})


def pages(
    operations: Iterable[Operation],
    verbs: Iterable[Unbuilt],
    unbuilt: Iterable[Unbuilt],
    extra: Sequence[BaseRoute],
    guard: Guard,
    find_key: KeyFinder,
) -> Starlette:
    """The app behind the hot paths. ``verbs`` (reserved) would be taken for ids of objects, so they come
    first; ``unbuilt`` paths come last, so that what is built wins."""
    by_path: dict[str, list[Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, []).append(operation)
    routes: list[BaseRoute] = [Route(verb.path, _Reserved(verb, guard)) for verb in verbs]
    routes += [Route(path, Page(ops, guard, find_key)) for path, ops in by_path.items()]
    routes += extra
    routes += [Route(reserved.path, _Reserved(reserved, guard)) for reserved in unbuilt]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refused_route(guard)})
    # It would send people to where the Host header says this server is.
    app.router.redirect_slashes = False
    return app


class _Reserved:
    """A plain ASGI callable, for every method."""

    def __init__(self, unbuilt: Unbuilt, guard: Guard) -> None:
        self._unbuilt = unbuilt
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._guard.note(self._unbuilt.path, 404, scope["state"]["request_id"])
        reply = problem(404, f"{self._unbuilt.what} is not built yet")
        await send_reply(send, reply, measured(reply))


def _refused_route(guard: Guard) -> Callable[[Request, Exception], Response]:
    def handle(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        guard.note("(none)", status, request.state.request_id)
        reply = problem(status, "no such path" if status == 404 else "")
        headers = {name.decode(): value.decode() for name, value in reply.headers}
        if isinstance(error, HTTPException) and error.headers:
            headers.update(error.headers)
        return Response(reply.body, status, headers)

    return handle
