"""What every route passes through: who calls, whether they may, repeated requests, and what is remembered of them.

A route cannot be made without saying what it needs; there is no list of paths that could be forgotten or fooled
(RELIABILITY R1, R17).
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Final
from weakref import WeakKeyDictionary

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import Response

from ...engine.membership import new_id
from ...repositories import access_store
from ...repositories.database import Database
from ...services.access.audit import AuditLog
from ...services.access.keys import Principal
from ...services.access.scopes import Need, allows
from ...services.container import Services
from ...services.namespaces import Namespaces
from .callers import Callers, Unknown
from .origins import check_origin
from .problems import Refused, response_of
from .rates import Rates

__all__ = [
    "GATE",
    "KEYED",
    "NAMESPACES",
    "NEED",
    "PUBLIC",
    "UNKEPT",
    "Caller",
    "Gate",
    "GuardedRoute",
    "caller_of",
]

log: Final = logging.getLogger("strataflow.api")
#: Where a route's need stands in the OpenAPI document.
NEED: Final = "x-scope"
#: The need of what everybody may ask: is the process alive?
PUBLIC: Final = "public"
#: The need of a call that knows only from its body what it needs: a valid key first, the rest it asks for itself.
KEYED: Final = "key"
#: Where a route says that a secret goes through it: neither request nor answer leaves a trace.
UNKEPT: Final = "x-unkept"
#: What the walls put into each request.
GATE: Final = "strataflow.gate"
NAMESPACES: Final = "strataflow.namespaces"
_Handler = Callable[[Request], Coroutine[Any, Any, Response]]
_KEY_LENGTH: Final = 200
#: A request that has had no answer for so long is nobody's any more: no route takes half of it.
_ABANDONED_US: Final = 120_000_000
_KEPT_HEADERS: Final = ("content-type", "location", "etag")


@dataclass(slots=True, frozen=True)
class Caller:
    """Who calls, and the use cases of their namespace."""

    principal: Principal
    services: Services
    #: The id that a run made by this request takes; the same when the request is repeated under its Idempotency-Key.
    new_id: str = field(default_factory=new_id)

    def require(self, need: Need) -> None:
        """Ask for one more scope, which only the body shows to be needed. Raises Refused."""
        if not allows(self.principal.scopes, need):
            detail = f"the key {self.principal.who!r} may not {need}."
            raise Refused(403, "forbidden", detail, hint=f"It needs the scope {need}.")


def caller_of(request: Request) -> Caller:
    """The caller that the gate has let through, for routes."""
    found: Caller = request.scope["strataflow.caller"]
    return found


class GuardedRoute(APIRoute):
    """A route that says in its OpenAPI entry what it needs; without that it cannot be made."""

    def get_route_handler(self) -> _Handler:
        """Put the gate in front of the route."""
        inner = super().get_route_handler()
        text = (self.openapi_extra or {}).get(NEED)
        if not text:
            raise TypeError(f"the route {self.path} does not say what it needs")
        need = None if text in {PUBLIC, KEYED} else Need(*text.split(":"))
        is_secret = (self.openapi_extra or {}).get(UNKEPT) is True

        async def handle(request: Request) -> Response:
            gate: Gate = request.scope[GATE]
            request.scope[UNKEPT] = is_secret
            if text == KEYED:
                return await gate.keyed(request, inner)
            return await gate.answer(request, need, inner)

        return handle


class Gate:
    """Authentication, authorisation, rates, idempotency, audit."""

    def __init__(
        self,
        namespaces: Namespaces,
        *,
        authenticate: bool,
        rates: Rates,
        origins: frozenset[str] = frozenset(),
    ) -> None:
        self._namespaces = namespaces
        self._authenticate, self._origins = authenticate, origins
        self._rates = rates
        self.callers: Final = Callers(namespaces, rates, authenticate=authenticate)
        #: An audit log for each database that is open.
        self._audits: WeakKeyDictionary[Database, AuditLog] = WeakKeyDictionary()

    async def answer(self, request: Request, need: Need | None, inner: _Handler) -> Response:
        """Let a request through, or answer it with a problem."""
        try:
            if need is None:
                return await inner(request)
            return await self._allowed(request, await self.admit(request, need), need, inner)
        except Exception as exc:  # noqa: BLE001 - every error becomes an answer; defects are logged there
            return response_of(request, exc)

    async def keyed(self, request: Request, inner: _Handler) -> Response:
        """Let in whoever has a valid key, with no leave to do anything: `inner` asks for every scope itself."""
        try:
            principal = await self.recognise(request)
            self._rates.spend(f"key:{principal.namespace}:{principal.key_id}")
            request.scope["strataflow.caller"] = Caller(
                principal, self._namespaces.services(principal.namespace)
            )
            return await inner(request)
        except Exception as exc:  # noqa: BLE001 - every error becomes an answer; defects are logged there
            return response_of(request, exc)

    async def once(self, request: Request, inner: _Handler) -> Response:
        """A write of a keyed call; under an idempotency key the first answer is given again."""
        return await self._once(request, caller_of(request), inner)

    async def remember(self, request: Request, action: str, status: int, what: str = "") -> None:
        """Note in the audit log what a keyed call did, or was not allowed to do; `what` says more of it."""
        await self._remember(request, caller_of(request), action, status, what)

    async def recognise(self, request: HTTPConnection) -> Principal:
        """Who calls, over HTTP or a WebSocket. Raises Refused; what claims to be a key of ours is remembered."""
        given = request.headers.getlist("authorization")
        if len(given) > 1:  # a proxy before us may have looked at the other one
            raise Refused(400, "headers", "a call has one Authorization header.")
        if not self._authenticate:  # a page that its owner's browser shows is not its owner
            check_origin(request, self._origins)
        authorization = given[0] if given else ""
        try:
            return await self.callers.recognise(authorization, request.client.host if request.client else "")
        except Unknown as unknown:
            if unknown.namespace is not None:
                nobody = Principal(unknown.namespace, None, "nobody", ())
                caller = Caller(nobody, self._namespaces.services(unknown.namespace))
                await self._remember(request, caller, "authenticate", 401)
            raise

    async def admit(self, request: HTTPConnection, need: Need) -> Caller:
        """Who calls, if they may do this. Raises Refused; what is denied is remembered."""
        principal = await self.recognise(request)
        self._rates.spend(f"key:{principal.namespace}:{principal.key_id}")
        caller = Caller(principal, self._namespaces.services(principal.namespace))
        if not allows(principal.scopes, need):
            await self._remember(request, caller, str(need), 403)
            caller.require(need)
        return caller

    async def _allowed(self, request: Request, caller: Caller, need: Need, inner: _Handler) -> Response:
        request.scope["strataflow.caller"] = caller
        if need.verb == "read":
            try:
                return _tagged(request, await inner(request))
            except Refused as refused:
                if refused.status == 403:  # it needed more than its scope
                    await self._remember(request, caller, str(need), 403)
                raise
        response = await self._once(request, caller, inner)
        if need.resource == "keys":
            self.callers.forget()
        await self._remember(request, caller, str(need), response.status_code)
        return response

    # --- writes

    async def _once(self, request: Request, caller: Caller, inner: _Handler) -> Response:
        """A write; under an idempotency key the first answer is given again."""
        key = request.headers.get("idempotency-key")
        if key is None:
            return await _answered(request, inner)
        if not 1 <= len(key) <= _KEY_LENGTH:
            raise Refused(400, "idempotency_key", f"an Idempotency-Key has 1 to {_KEY_LENGTH} characters.")
        if request.scope.get(UNKEPT):
            detail = "a secret goes through this call: nothing of it is kept, so it takes no Idempotency-Key."
            raise Refused(400, "idempotency_key", detail, hint="Leave the header out.")
        database, owner = caller.services.database, caller.principal.key_id or "-"
        print_of = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
        print_of.update(await request.body())
        fingerprint = print_of.hexdigest()

        def begin() -> access_store.StoredAnswer:
            return access_store.begin_request(
                database, owner, key, fingerprint, made=caller.new_id, abandoned_us=_ABANDONED_US
            )

        first = await run_in_threadpool(begin)
        if not first.mine:
            return _again(first, fingerprint)
        request.scope["strataflow.caller"] = replace(caller, new_id=first.made)
        response = await _answered(request, inner)
        if response.status_code >= 500 or response.status_code == 429:  # it may be tried again
            await run_in_threadpool(access_store.reopen_request, database, owner, key, _ABANDONED_US)
            return response
        kept = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}

        def keep() -> None:
            headers, body = json.dumps(kept), bytes(response.body).decode()
            access_store.answer_request(
                database, owner, key, status=response.status_code, headers=headers, body=body
            )

        await run_in_threadpool(keep)
        return response

    async def _remember(
        self, request: HTTPConnection, caller: Caller, action: str, status: int, what: str = ""
    ) -> None:
        outcome = "denied" if status in {401, 403} else "done" if status < 400 else "failed"
        entry = {
            "key_id": caller.principal.key_id,
            "who": caller.principal.who,
            "action": action,
            "target": f"{request.scope.get('method', 'WEBSOCKET')} {_as_sent(request)} {what}".rstrip()[:500],
            "outcome": outcome,
            "status": status,
            "request_id": request.state.request_id,
        }
        database = caller.services.database
        audit = self._audits.setdefault(database, AuditLog(database))
        await run_in_threadpool(audit.write, entry)


def _as_sent(request: HTTPConnection) -> str:
    """The path with its percent signs: no character of it can be mistaken, or is one that a database refuses."""
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    return raw.decode("ascii", "backslashreplace").replace("\x00", "%00")


async def _answered(request: Request, inner: _Handler) -> Response:
    try:
        return await inner(request)
    except Exception as exc:  # noqa: BLE001 - every error becomes an answer; defects are logged there
        return response_of(request, exc)


def _again(first: access_store.StoredAnswer, fingerprint: str) -> Response:
    if first.fingerprint != fingerprint:
        detail = "this Idempotency-Key was used for another request."
        raise Refused(422, "idempotency_key", detail, hint="Take a new key for each request.")
    if first.status is None:
        detail = "the first request under this Idempotency-Key is still being answered."
        raise Refused(409, "in_progress", detail, hint="Ask again.", headers={"Retry-After": "1"})
    headers: dict[str, str] = {**json.loads(first.headers or "{}"), "Idempotent-Replayed": "true"}
    return Response((first.body or "").encode(), first.status, headers)


def _tagged(request: Request, response: Response) -> Response:
    """Give what was read a tag; who has it already gets no body."""
    body = getattr(response, "body", None)
    if response.status_code != 200 or not body:
        return response
    tag = f'"{hashlib.sha256(bytes(body)).hexdigest()[:32]}"'
    if tag in {each.strip() for each in request.headers.get("if-none-match", "").split(",")}:
        return Response(status_code=304, headers={"ETag": tag})
    response.headers["ETag"] = tag
    return response


def new_request_id() -> str:
    """An id under which a request stands in the log."""
    return uuid.uuid4().hex
