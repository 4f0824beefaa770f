"""The operator's pages and their JSON: who may see what, and what each call does."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import msgspec

from payrouter.adapters.http.message import STATUS_LINES
from payrouter.adapters.log_lines import fact
from payrouter.domain.errors import InvalidInput, StoreUnavailable
from payrouter.domain.payment import parse_correlation_id
from payrouter.entrypoints.admin.assets import load_assets
from payrouter.entrypoints.admin.metrics import CONTENT_TYPE, scrape
from payrouter.entrypoints.admin.sessions import Sessions, cookie_header, is_meant, is_of_another_site, is_this_machine
from payrouter.entrypoints.admin.views import books_view, dead_letter_view, history_view, overview_view, story_view
from payrouter.entrypoints.api.problems import PROBLEM_TYPE, problem_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.adapters.http.message import Reply, Request, Stream
    from payrouter.application.desk import Overview
    from payrouter.bootstrap.operating import Operations
    from payrouter.entrypoints.admin.sessions import Session

MOST_STREAMS = 64
MOST_SHOWN = 1000
SEARCHED = 10_000
"""Dead letters looked through by a filter, oldest first."""

_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_GUARDS = (
    (b"Content-Security-Policy", _POLICY),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Frame-Options", b"DENY"),
    # With no-referrer browsers say "Origin: null" of our own login form, as if another site had sent it.
    (b"Referrer-Policy", b"same-origin"),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
    (b"Cache-Control", b"no-store"),
)
_log = logging.getLogger("payrouter")


class _Retry(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    correlation_ids: list[str] | None = None
    all: bool = False


class Admin:
    """Answers an operator's requests. Call it with a request and where to answer."""

    def __init__(self, operations: Operations, token: str, monotonic_s: Callable[[], float]) -> None:
        self._operations = operations
        self._desk = operations.desk
        self._names = tuple(one.name for one in operations.processors)
        self._sessions = Sessions(token, monotonic_s)
        self._assets = load_assets()
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: dict[Stream, Session | None] = {}
        self._open: dict[tuple[bytes, bytes], Any] = {
            (b"GET", b"/health"): self._health,
            (b"GET", b"/login"): partial(self._page, "login.html"),
            (b"POST", b"/login"): self._sign_in,
        }
        self._guarded: dict[tuple[bytes, bytes], Any] = {
            (b"GET", b"/"): partial(self._page, "index.html"),
            (b"GET", b"/api/session"): self._session,
            (b"GET", b"/metrics"): self._metrics,
            (b"GET", b"/api/overview"): self._overview,
            (b"GET", b"/api/history"): self._history,
            (b"GET", b"/api/events"): self._events,
            (b"GET", b"/api/dead-letters"): self._dead_letters,
            (b"GET", b"/api/audit"): self._books,
        }
        self._changes: dict[tuple[bytes, bytes], Any] = {
            (b"POST", b"/logout"): self._sign_out,
            (b"POST", b"/api/dead-letters/retry"): self._retry,
            (b"POST", b"/api/audit"): self._compare,
        }

    def __call__(self, request: Request, reply: Reply) -> None:
        """Answer one request, in a task of its own."""
        task = asyncio.get_running_loop().create_task(self._answer(request, reply))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End every stream and wait for what is being answered."""
        for stream in list(self._streams):
            stream.close()
        await asyncio.gather(*self._tasks)

    async def _answer(self, request: Request, reply: Reply) -> None:
        try:
            await self._routed(request, reply)
        except InvalidInput as error:
            _problem(reply, 400, str(error))
        except StoreUnavailable as error:
            _problem(reply, 503, f"{error}; try again later", headers=((b"Retry-After", b"1"),))
        except Exception:  # noqa: BLE001 - logged, and answered honestly
            _log.exception(
                "an operator's request failed: %s",
                request.path.decode("ascii", "replace")[:80],
                extra=fact("request_failed"),
            )
            if not reply.answered:
                _problem(reply, 500, "a defect of ours; the log says more")

    # -- who may do what

    async def _routed(self, request: Request, reply: Reply) -> None:
        method = b"GET" if request.method == b"HEAD" else request.method
        path = request.path
        if not self._sessions.needs_token and not is_this_machine(request):
            detail = "without PAYROUTER_ADMIN_TOKEN only this machine may look, at http://127.0.0.1; set it for others"
            _problem(reply, 403, detail)
            return
        if (handler := self._open.get((method, path))) is not None:
            await handler(request, reply, None)
            return
        if path.startswith(b"/assets/") and method == b"GET":
            self._asset(request, reply)
            return
        sent = self._sessions.needs_token and request.header(b"authorization") is not None
        if sent and self._sessions.too_many_tries(reply.peer):
            _too_many_tries(reply)
            return
        program = self._sessions.bears_token(request)
        session = self._sessions.of(request)
        if session is None and not program:
            if sent:
                _log.warning("somebody asked for the operator's pages with a wrong token")
                await self._sessions.guessed(reply.peer)
            self._turn_away(request, reply)
            return
        if (handler := self._guarded.get((method, path)) or self._guarded_below(method, path)) is not None:
            await handler(request, reply, session)
            return
        handler = self._changes.get((method, path)) or self._change_below(method, path)
        if handler is None:
            self._nothing_there(request, reply)
        elif not program and (session is None or not is_meant(request, session)):
            _problem(reply, 403, "a change needs the X-CSRF-Token of GET /api/session, from a page of this address")
        else:
            await handler(request, reply, session)

    def _guarded_below(self, method: bytes, path: bytes) -> Any:
        if method == b"GET" and path.startswith(b"/api/payments/"):
            return self._payment
        return None

    def _change_below(self, method: bytes, path: bytes) -> Any:
        name, _, verb = path.removeprefix(b"/api/processors/").rpartition(b"/")
        if method == b"POST" and path.startswith(b"/api/processors/") and verb in (b"pause", b"resume"):
            return partial(self._pause, unquote(name.decode("ascii", "replace")), verb == b"pause")
        return None

    def _nothing_there(self, request: Request, reply: Reply) -> None:
        path = request.path
        allowed = [method for method, known in (*self._open, *self._guarded, *self._changes) if known == path]
        if allowed:
            detail = f"{request.method.decode('ascii', 'replace')} is not possible here"
            _problem(reply, 405, detail, headers=((b"Allow", b", ".join(allowed)),))
        else:
            _problem(reply, 404, f"nothing is at {path[:80].decode('utf-8', 'replace')}")

    def _turn_away(self, request: Request, reply: Reply) -> None:
        if request.path == b"/":
            _redirect(reply, b"/login")
        else:
            _problem(
                reply,
                401,
                "sign in at /login, or send Authorization: Bearer with PAYROUTER_ADMIN_TOKEN",
                headers=((b"WWW-Authenticate", b"Bearer"),),
            )

    # -- pages, signing in and out

    def _asset(self, request: Request, reply: Reply) -> None:
        name = request.path.removeprefix(b"/assets/").decode("ascii", "replace")
        found = self._assets.get(name)
        if found is None or name.endswith(".html"):
            _problem(reply, 404, f"there is no file {name[:80]}")
            return
        form = found.form(request.header(b"accept-encoding"))
        guards = (pair for pair in _GUARDS if pair[0] != b"Cache-Control")
        headers = ((b"ETag", form.etag), (b"Cache-Control", b"no-cache"), *form.headers, *guards)
        if request.header(b"if-none-match") == form.etag:
            reply.send(304, content_type=found.content_type, headers=headers)
        else:
            reply.send(200, form.body, content_type=found.content_type, headers=headers)

    async def _page(self, name: str, request: Request, reply: Reply, session: Session | None) -> None:  # noqa: ARG002
        page = self._assets[name]
        form = page.form(request.header(b"accept-encoding"))
        reply.send(200, form.body, content_type=page.content_type, headers=(*form.headers, *_GUARDS))

    async def _health(self, request: Request, reply: Reply, session: Session | None) -> None:  # noqa: ARG002
        _json(reply, {"status": "ok"})

    async def _sign_in(self, request: Request, reply: Reply, session: Session | None) -> None:  # noqa: ARG002
        if not self._sessions.needs_token:
            _redirect(reply, b"/")
            return
        if is_of_another_site(request):
            _problem(reply, 403, "sign in from the page of this address")
            return
        if self._sessions.too_many_tries(reply.peer):
            _too_many_tries(reply)
            return
        form = dict(parse_qsl(request.body.decode("utf-8", "replace")))
        fresh = await self._sessions.sign_in(form.get("token", ""), reply.peer)
        if fresh is None:
            _log.warning(
                "somebody tried to sign in to the operator's pages with a wrong token", extra=fact("sign_in_failed")
            )
            _redirect(reply, b"/login?wrong=1")
        else:
            _redirect(reply, b"/", cookie_header(fresh, request))

    async def _sign_out(self, request: Request, reply: Reply, session: Session | None) -> None:
        if session is not None:
            self._sessions.sign_out(session)
            for stream, of in list(self._streams.items()):
                if of is session:
                    stream.close()
        _redirect(reply, b"/login", cookie_header(None, request))

    async def _session(self, request: Request, reply: Reply, session: Session | None) -> None:  # noqa: ARG002
        csrf = session.csrf if session is not None else None
        _json(reply, {"csrf": csrf, "signedIn": True, "needsToken": self._sessions.needs_token})

    # -- what goes on

    async def _overview(self, request: Request, reply: Reply, session: Session | None) -> None:  # noqa: ARG002
        _json(reply, overview_view(await self._desk.latest(), self._operations))

    async def _metrics(self, request: Request, reply: Reply, session: Session | None) -> None:  # noqa: ARG002
        reply.send(200, scrape(await self._desk.glance()), content_type=CONTENT_TYPE.encode(), headers=_GUARDS)

    async def _history(self, request: Request, reply: Reply, session: Session | None) -> None:  # noqa: ARG002
        _json(reply, history_view(self._desk.history, self._names))

    async def _events(self, request: Request, reply: Reply, session: Session | None) -> None:  # noqa: ARG002
        if len(self._streams) >= MOST_STREAMS:
            _problem(reply, 503, f"{MOST_STREAMS} pages are open already", headers=((b"Retry-After", b"5"),))
            return
        overview = await self._desk.latest()
        guards = b"".join(b"%b: %b\r\n" % pair for pair in _GUARDS)
        head = b"%bContent-Type: text/event-stream\r\n%b" % (STATUS_LINES[200], guards)

        def closed() -> None:
            self._streams.pop(stream, None)
            if not self._streams:
                self._desk.listeners.discard(self._tell)

        stream = reply.stream(head, closed)
        self._streams[stream] = session
        self._desk.listeners.add(self._tell)
        stream.write(self._event(overview))

    def _event(self, overview: Overview) -> bytes:
        return b"event: overview\ndata: %b\n\n" % msgspec.json.encode(overview_view(overview, self._operations))

    def _tell(self, overview: Overview) -> None:
        event = self._event(overview)
        for stream, session in list(self._streams.items()):
            if session is None or self._sessions.lives(session):
                stream.write(event)
            else:
                stream.close()

    # -- payments

    async def _payment(self, request: Request, reply: Reply, session: Session | None) -> None:  # noqa: ARG002
        text = unquote(request.path.removeprefix(b"/api/payments/").decode("ascii", "replace"))
        record = await self._desk.find(parse_correlation_id(text))
        if record is None:
            _problem(reply, 404, f"no payment {text} is known here; perhaps it was never accepted, or was purged")
            return
        _json(reply, story_view(record, self._operations.processors))

    async def _dead_letters(self, request: Request, reply: Reply, session: Session | None) -> None:  # noqa: ARG002
        asked = dict(parse_qsl(request.query.decode("utf-8", "replace")))
        limit, contains = _limit(asked.get("limit", "100")), asked.get("contains", "").strip().lower()
        overview = await self._desk.latest()
        letters = await self._desk.dead_letters(SEARCHED if contains else limit)
        if contains:
            letters = [
                one for one in letters if contains in f"{one.correlation_id} {one.reason} {one.pinned_to or ''}".lower()
            ]
        poison = await self._desk.poison(limit)
        _json(
            reply,
            {
                "count": max(overview.dead_letters, len(letters)),
                "found": len(letters),
                "shown": [dead_letter_view(one) for one in letters[:limit]],
                "poison": [{"place": place, "text": text} for place, text in poison.items()],
                "poisonCount": overview.poison,
            },
        )

    async def _retry(self, request: Request, reply: Reply, session: Session | None) -> None:  # noqa: ARG002
        try:
            wanted = msgspec.json.decode(request.body, type=_Retry)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise InvalidInput(f'send {{"correlationIds": ["<uuid>"]}} or {{"all": true}}: {error}') from None
        if wanted.all == (wanted.correlation_ids is not None):
            raise InvalidInput('send either {"correlationIds": ["<uuid>"]} or {"all": true}')
        ids = None if wanted.correlation_ids is None else [parse_correlation_id(one) for one in wanted.correlation_ids]
        retried = await self._desk.retry(ids)
        _log.info("an operator sent %d dead letters again", retried, extra=fact("dead_letters_retried"))
        _json(reply, {"retried": retried})

    # -- processors, books

    async def _pause(self, name: str, paused: bool, request: Request, reply: Reply, session: Session | None) -> None:  # noqa: ARG002, FBT001 - bound by name and verb
        if name not in self._names:
            _problem(reply, 404, f"there is no processor {name[:40]!r}; there are {', '.join(self._names)}")
            return
        await self._operations.pause(name, paused=paused)
        _log.info("an operator %s %s", "paused" if paused else "resumed", name, extra=fact("operator_paused"))
        _json(reply, {"processor": name, "paused": paused})

    async def _books(self, request: Request, reply: Reply, session: Session | None) -> None:  # noqa: ARG002
        _json(reply, books_view(self._operations.books.report))

    async def _compare(self, request: Request, reply: Reply, session: Session | None) -> None:  # noqa: ARG002
        self._operations.books.ask()
        _json(reply, {"message": "the books are being compared"}, status=202)


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_SHOWN:
        raise InvalidInput(f"limit must be a number from 1 to {MOST_SHOWN}, got {text[:20]!r}")
    return int(text)


def _json(reply: Reply, what: Any, *, status: int = 200) -> None:
    reply.send(status, msgspec.json.encode(what), headers=_GUARDS)


def _too_many_tries(reply: Reply) -> None:
    _problem(reply, 429, "too many wrong tokens; try again in a moment", headers=((b"Retry-After", b"1"),))


def _redirect(reply: Reply, where: bytes, *headers: tuple[bytes, bytes]) -> None:
    reply.send(303, content_type=b"text/plain", headers=((b"Location", where), *headers, *_GUARDS))


def _problem(reply: Reply, status: int, detail: str, *, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    reply.send(status, problem_body(status, detail), content_type=PROBLEM_TYPE, headers=(*headers, *_GUARDS))
