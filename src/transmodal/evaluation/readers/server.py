"""The reading room: one page and the few addresses that it asks, on this machine unless told otherwise.

What leaves the server tells nothing of what an image is: addresses are codes of reader and presentation, bodies of
images have one length, nothing has a date, and nothing may be kept by the browser. Each reader has a personal link.
"""

import contextlib
import hmac
import html
import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from transmodal.errors import UserError
from transmodal.evaluation.readers.store import Refused, checked_name
from transmodal.evaluation.readers.study import Pictures, Study
from transmodal.evaluation.readers.trials import Trial, address, personal_token

_PAGE = Path(__file__).parent / "page"
_FILES = {"page.js": "text/javascript", "viewer.js": "text/javascript", "page.css": "text/css"}
_LONGEST_BODY = 16384  # bytes of an answer
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_REFUSAL = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="dark">
  <title>Reader study</title>
  <link rel="icon" href="data:,">
  <link rel="stylesheet" href="/static/page.css">
</head>
<body>
  <header><h1>Reader study</h1></header>
  <main><section class="card"><h2>This page cannot be shown</h2><p role="alert">{message}.</p></section></main>
</body>
</html>
"""


class Submission(BaseModel):
    """What the page sends when a trial is answered."""

    model_config = ConfigDict(extra="forbid")

    trial: int = Field(ge=0)
    answers: dict[str, str] = Field(max_length=32)
    seconds: float
    window: float | None = None
    level: float | None = None
    zoom: float | None = None


class ReadingRoom:
    """Readers, their links, and what each may ask for now."""

    def __init__(self, study: Study, readers: Sequence[str] = (), *, start_page: bool = False) -> None:
        """Add the invited readers.

        Args:
            study: opened.
            readers: invited; their links work at once, and on the start page nobody else is let in.
            start_page: let a reader begin by giving a name.
        """
        self.study, self.start_page = study, start_page
        self.store = study.open_store()
        self.invited = tuple(dict.fromkeys(checked_name(name) for name in readers))
        self.plans: dict[str, list[Trial]] = {}
        for name in self.invited:
            self.store.add_reader(name)
        self.tokens = {self.token(reader.name): reader.name for reader in self.store.readers() if not reader.simulated}

    def token(self, reader: str) -> str:
        """Return the last part of a reader's link."""
        return personal_token(self.study.secret, reader)

    def enter(self, name: str) -> str:
        """Let a reader in by name, new or known; return the token.

        Raises:
            UserError: there is no start page, or the name is unsuitable or not invited.
        """
        name = checked_name(name)
        if not self.start_page:
            raise UserError("This study is entered by personal links only; ask for yours")
        if self.invited and name not in self.invited:
            raise UserError("This name is not among the readers of the study; give the name you were invited by")
        self.store.add_reader(name)
        self.tokens[self.token(name)] = name
        return self.token(name)

    def reader_of(self, token: str) -> str | None:
        """Return whose link this is."""
        return next((name for known, name in list(self.tokens.items()) if hmac.compare_digest(known, token)), None)

    def plan(self, reader: str) -> list[Trial]:
        """Return a reader's trials."""
        if reader not in self.plans:
            self.plans[reader] = self.store.trials(reader)
        return self.plans[reader]

    def state(self, reader: str) -> dict[str, Any]:
        """Return what the page must know: the protocol, the trial that is open, the addresses of the next one."""
        protocol = self.study.protocol
        plan, number = self.plan(reader), self.store.next_trial(reader)
        return {
            "reader": reader,
            "title": protocol.title,
            "kind": protocol.kind,
            "question": protocol.question,
            "criteria": list(protocol.criteria),
            "points": protocol.points,
            "answers": list(self.study.allowed_answers()),
            "pictures": _readable(protocol.pictures),
            "reference": None if protocol.reference is None else _readable(protocol.reference),
            "referenceTitle": protocol.reference_title,
            "of": len(plan),
            "repeated": sum(trial.repeat for trial in plan),
            "trial": number,
            "shown": [] if number is None else list(self.addresses(reader, number)),
            "next": [] if number is None or number + 1 == len(plan) else list(self.addresses(reader, number + 1)),
        }

    def addresses(self, reader: str, trial: int) -> dict[str, str]:
        """Return address → opaque name for one presentation, from the left; the image beside comes last."""
        images = self.plan(reader)[trial].images
        found = {address(self.study.secret, reader, trial, str(place)): name for place, name in enumerate(images)}
        beside = self.study.key.references.get(self.study.key.images[images[0]].case)
        if beside is not None:
            found[address(self.study.secret, reader, trial, "reference")] = beside
        return found

    def image(self, reader: str, wanted: str) -> bytes:
        """Return the bytes behind an address of the open trial or the one after it.

        Raises:
            UserError: it is none of them.
        """
        number = self.store.next_trial(reader)
        if number is not None:
            for trial in range(number, min(number + 2, len(self.plan(reader)))):
                name = self.addresses(reader, trial).get(wanted)
                if name is not None:
                    return self.study.image_bytes(name)
        raise UserError("This image is not shown now; reload the page")

    def answer(self, reader: str, body: bytes) -> dict[str, Any]:
        """Keep an answer and return the state after it.

        Raises:
            UserError: it cannot be understood, is not among the allowed ones, or is not of the open trial.
        """
        try:
            given = Submission.model_validate_json(body)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"])) or "the answer"
            raise UserError(f"The answer was not understood: {where}: {problem['msg']}; reload the page") from error
        self.store.record(
            reader,
            given.trial,
            self.study.checked_answers(given.answers),
            seconds=given.seconds,
            window=given.window,
            level=given.level,
            zoom=given.zoom,
        )
        return self.state(reader)


def make_application(room: ReadingRoom, *, hosts: Sequence[str] | None = None) -> FastAPI:
    """Return the web application of a reading room.

    Args:
        room: with its readers.
        hosts: names under which the server may be asked; others are refused, so that no foreign page can point its own
            name at this machine. None takes any.
    """
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @application.middleware("http")
    async def guard(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        if hosts is not None and urlsplit(f"//{request.headers.get('host', '')}").hostname not in hosts:
            told = "This study is not served under this name; use the address that was printed"
            response = _refusal(421, told, request)
        else:
            response = await call(request)
        response.headers.update(_HEADERS)
        return response

    @application.exception_handler(404)
    @application.exception_handler(405)
    async def unknown(request: Request, error: Exception) -> Response:
        return _refusal(404, "There is nothing here; use your personal link", request)

    @application.exception_handler(UserError)
    async def refused(request: Request, error: UserError) -> Response:
        return _refusal(409 if isinstance(error, Refused) and error.conflict else 400, str(error))

    @application.get("/")
    def start(request: Request) -> Response:
        told = "This study is entered by personal links; ask for yours"
        return _page() if room.start_page else _refusal(404, told, request)

    @application.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in _FILES:
            return _refusal(404, "There is nothing here")
        return Response((_PAGE / name).read_bytes(), media_type=_FILES[name])

    @application.post("/start")
    async def enter(request: Request) -> Response:
        try:
            name = json.loads(await _body(request))["name"]
        except (ValueError, TypeError, KeyError) as error:
            raise UserError("The name was not understood; reload the page") from error
        token = await run_in_threadpool(room.enter, str(name))
        return _json({"link": f"/r/{token}"})

    @application.get("/r/{token}")
    def personal(token: str, request: Request) -> Response:
        told = "This link is unknown; check that it is complete"
        return _page() if room.reader_of(token) else _refusal(404, told, request)

    @application.get("/r/{token}/state")
    def state(token: str) -> Response:
        return _json(room.state(_reader(room, token)))

    @application.get("/r/{token}/image/{wanted}")
    def image(token: str, wanted: str) -> Response:
        return Response(room.image(_reader(room, token), wanted), media_type="application/octet-stream")

    @application.post("/r/{token}/answer")
    async def answer(token: str, request: Request) -> Response:
        body = await _body(request)
        return _json(await run_in_threadpool(lambda: room.answer(_reader(room, token), body)))

    return application


def serve(
    folder: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8700,
    readers: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> None:
    """Show a study in the browser until Ctrl-C.

    Args:
        folder: of the study.
        host: address to listen on; readers on other machines need another than loopback and their personal links.
        port: 0 takes a free one.
        readers: invited by name; others are let in by the start page, on loopback alone.
        say: prints a line.

    Raises:
        UserError: no study, the port is taken, or no reader is named while the study can be reached from outside.
    """
    study = Study.open(folder)
    local = _is_loopback(host)
    if not local and not readers:
        raise UserError(f"--host {host} can be reached from other machines; name the readers with --readers ana,ben")
    with listen(host, port) as listening:
        room = ReadingRoom(study, readers, start_page=local)
        shown_host = f"[{host}]" if ":" in host else host
        origin = f"http://{shown_host}:{listening.getsockname()[1]}"
        say(f"{study.protocol.title}: {study.workload()}; they go to {room.store.path}")
        for name in room.invited:
            say(f"  {name}: {origin}/r/{room.token(name)}")
        if not local:
            say(
                "Links are personal; over plain HTTP they can be read on the network, so use a trusted one or a tunnel."
            )
        say(f"Open {origin}/ in a browser; Ctrl-C ends." if local else f"Listening on {origin}; Ctrl-C ends.")
        hosts = ("127.0.0.1", "localhost", "::1", host) if local else None
        application = make_application(room, hosts=hosts)
        with contextlib.suppress(KeyboardInterrupt):
            web_server(application).run(sockets=[listening])
        done = {name: (len(room.plan(name)), room.store.next_trial(name)) for name in room.tokens.values()}
        say("Stopped. " + "; ".join(f"{name}: {total if at is None else at} of {total}" for name, (total, at)
                                    in done.items()))  # fmt: skip


def web_server(application: FastAPI) -> uvicorn.Server:
    """Return a web server that keeps no log of personal links and gives neither its name nor a date."""
    return uvicorn.Server(
        uvicorn.Config(
            application,
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            lifespan="off",
            timeout_graceful_shutdown=3,
        )
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that accepts connections.

    Raises:
        UserError: the address is not this machine's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, or asyncio leaves Nagle's algorithm on and every answer waits 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)  # from here on browsers wait in the queue instead of being refused
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"Cannot listen on {host}, port {port}: {reason}; choose another --port or --host") from error
    return listening


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _reader(room: ReadingRoom, token: str) -> str:
    reader = room.reader_of(token)
    if reader is None:
        raise UserError("This link is unknown; check that it is complete")
    return reader


async def _body(request: Request) -> bytes:
    """Return the body of a request that a foreign page could not have sent unasked: JSON, and short."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise UserError("An answer must be sent as application/json")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LONGEST_BODY:
            raise UserError(f"An answer is longer than {_LONGEST_BODY} bytes; reload the page")
    return body


def _readable(pictures: Pictures) -> dict[str, Any]:
    return pictures.model_dump(include={"width", "height", "channels", "low", "high", "unit", "aspect"})


def _page() -> Response:
    return Response((_PAGE / "index.html").read_bytes(), media_type="text/html")


def _json(content: Any) -> Response:
    return Response(json.dumps(content, ensure_ascii=False, allow_nan=False), media_type="application/json")


def _refusal(status: int, message: str, request: Request | None = None) -> Response:
    """Say what was refused: as a page to a person whose browser went there, as JSON to the page's own questions."""
    if request is not None and "text/html" in request.headers.get("accept", ""):
        return Response(_REFUSAL.format(message=html.escape(message)), status, media_type="text/html")
    return Response(json.dumps({"error": message}, ensure_ascii=False), status, media_type="application/json")
