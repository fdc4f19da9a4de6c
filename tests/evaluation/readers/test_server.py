"""The reading room over HTTP: what it gives away, what it refuses, and how it says so."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.data.readers import SYSTEMS, make_folders, make_small_study, serving

from transmodal.errors import UserError
from transmodal.evaluation.readers.server import ReadingRoom, serve
from transmodal.evaluation.readers.study import Study, read_answers

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folders(tmp_path_factory.mktemp("images"))


@pytest.fixture
def study(folders: Path, tmp_path: Path) -> Study:
    return make_small_study(folders, tmp_path / "study", "real-or-synthetic", reference=True, repeats=0.3)


@pytest.fixture
def room(study: Study) -> ReadingRoom:
    return ReadingRoom(study, ["ana", "ben"])


@pytest.fixture
def client(room: ReadingRoom) -> Iterator[httpx.Client]:
    with asking(room) as client:
        yield client


@contextmanager
def asking(room: ReadingRoom, hosts: Sequence[str] | None = None) -> Iterator[httpx.Client]:
    with serving(room, hosts) as origin, httpx.Client(base_url=origin, trust_env=False) as client:
        yield client


def submission(trial: int = 0, **changes: Any) -> dict[str, Any]:
    answer = {"trial": trial, "answers": {"": "real"}, "seconds": 1.5, "window": 200.0, "level": 100.0, "zoom": 1.0}
    return answer | changes


def link(room: ReadingRoom, reader: str = "ana") -> str:
    return f"/r/{room.token(reader)}"


def test_a_reader_goes_from_start_to_end_and_resumes(client: httpx.Client, room: ReadingRoom, study: Study) -> None:
    state = client.get(f"{link(room)}/state").json()
    assert (state["trial"], state["of"]) == (0, 16)
    for trial in range(16):
        assert client.get(f"{link(room)}/state").json() == state  # a reload changes nothing
        for address in state["shown"]:
            assert client.get(f"{link(room)}/image/{address}").status_code == 200
        answer = submission(trial, answers={"": ("real", "synthetic")[trial % 2]})
        state = client.post(f"{link(room)}/answer", json=answer).json()
        assert room.store.next_trial("ana") == state["trial"]
    assert state["trial"] is None and state["shown"] == []
    answers = read_answers(study.folder)
    assert answers.unanswered == {"ana": 0, "ben": 16}
    assert list(answers.table["answer"]) == ["real", "synthetic"] * 8
    last = client.post(f"{link(room)}/answer", json=submission(16))
    assert last.status_code == 409 and "study is finished" in last.json()["error"]


def test_responses_tell_nothing_of_what_an_image_is(client: httpx.Client, room: ReadingRoom, study: Study) -> None:
    sizes: set[tuple[object, ...]] = set()
    addresses: list[str] = []
    secret = [*SYSTEMS, "quokka", "pose", *study.key.images, *study.key.references.values()]
    for reader in ("ana", "ben"):
        state = client.get(f"{link(room, reader)}/state")
        for trial in range(16):
            assert not [word for word in secret if word in state.text]
            for place, address in enumerate(state.json()["shown"]):
                image = client.get(f"{link(room, reader)}/image/{address}")
                headers = tuple(sorted(image.headers.items()))
                sizes.add((place, len(image.content), headers))
                addresses.append(address)
                assert image.headers["cache-control"] == "no-store"
                assert not {"last-modified", "etag", "date", "server"} & set(image.headers)
            state = client.post(f"{link(room, reader)}/answer", json=submission(trial))
    assert len(sizes) == 2  # one length and one set of headers for what is judged, one for what stands beside
    assert len(addresses) == len(set(addresses)) == 2 * 2 * 16  # repeats cannot be told by their address
    assert all(re.fullmatch("[0-9a-f]{32}", address) for address in addresses)


def test_every_response_forbids_what_a_page_does_not_need(client: httpx.Client, room: ReadingRoom) -> None:
    for path in (link(room), "/static/page.js", f"{link(room)}/state", "/", "/nothing"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert (headers["referrer-policy"], headers["x-frame-options"]) == ("no-referrer", "DENY")
        assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
    page = client.get(link(room)).text
    assert "http://" not in page and "https://" not in page and "not for diagnosis" in page
    for path in ("/docs", "/openapi.json", "/static/../key.json", "/static/%2e%2e/server.py", "/key.json", "/images"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"answers": {"": "maybe"}}, "choose one of real, synthetic"),
        ({"answers": {}}, "must be to exactly"),
        ({"answers": {"": "real", "more": "real"}}, "must be to exactly"),
        ({"trial": 3}, "not open yet"),
        ({"trial": -1}, "trial: "),
        ({"seconds": -5}, "number of seconds"),
        ({"seconds": "soon"}, "seconds"),
        ({"reader": "ben"}, "reader"),
    ],
)
def test_bad_answers_are_refused_in_one_line(
    client: httpx.Client, room: ReadingRoom, changes: dict[str, Any], problem: str
) -> None:
    response = client.post(f"{link(room)}/answer", json=submission(**changes))
    assert response.status_code in (400, 409)
    assert problem in response.json()["error"] and "\n" not in response.json()["error"]
    assert room.store.answers() == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"trial": 0}', b'"' + b"x" * 20000 + b'"', b"\xff\xfe"])
def test_nonsense_is_refused_in_one_line(client: httpx.Client, room: ReadingRoom, body: bytes) -> None:
    response = client.post(f"{link(room)}/answer", content=body, headers=JSON)
    assert response.status_code == 400 and "\n" not in response.json()["error"]


def test_what_another_site_could_send_unasked_is_refused(client: httpx.Client, room: ReadingRoom) -> None:
    response = client.post(f"{link(room)}/answer", content=b"{}", headers={"Content-Type": "text/plain"})
    assert response.status_code == 400 and "application/json" in response.json()["error"]


def test_images_are_given_for_the_open_trial_and_the_next_alone(client: httpx.Client, room: ReadingRoom) -> None:
    state = client.get(f"{link(room)}/state").json()
    first, following = state["shown"][0], state["next"][0]
    later = next(iter(room.addresses("ana", 2)))
    assert client.get(f"{link(room)}/image/{following}").status_code == 200
    assert client.get(f"{link(room, 'ben')}/image/{first}").status_code == 400
    assert client.get(f"{link(room)}/image/{later}").status_code == 400
    client.post(f"{link(room)}/answer", json=submission(0))
    assert client.get(f"{link(room)}/image/{first}").status_code == 400


def test_the_second_of_two_tabs_is_told_that_answers_are_final(client: httpx.Client, room: ReadingRoom) -> None:
    assert client.post(f"{link(room)}/answer", json=submission(0)).status_code == 200
    response = client.post(f"{link(room)}/answer", json=submission(0, answers={"": "synthetic"}))
    assert response.status_code == 409 and "final" in response.json()["error"]
    assert [each.answer for each in room.store.answers()] == ["real"]


def test_a_stranger_is_not_let_in(client: httpx.Client, room: ReadingRoom) -> None:
    for path in ("/", "/r/0123", "/r/0123/state", f"/r/{room.token('carol')}"):
        response = client.get(path)
        assert response.status_code in (400, 404) and "link" in response.json()["error"]
    assert client.post("/start", json={"name": "ana"}).status_code == 400
    assert client.post("/r/0123/answer", json=submission(0)).status_code == 400


def test_a_person_with_a_broken_link_is_told_in_words(client: httpx.Client, room: ReadingRoom) -> None:
    for path, told in (("/r/0123", "This link is unknown"), ("/", "personal links"), ("/nothing", "nothing here")):
        response = client.get(path, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        assert response.status_code == 404 and response.headers["content-type"].startswith("text/html")
        assert told in response.text and "{" not in response.text and response.headers["cache-control"] == "no-store"
        assert client.get(path).headers["content-type"] == "application/json"


def test_the_start_page_takes_a_name_and_never_trusts_it(study: Study) -> None:
    room = ReadingRoom(study, start_page=True)
    with asking(room) as client:
        assert "Your name" in client.get("/").text
        path = client.post("/start", json={"name": " <b>Ana</b> "}).json()["link"]
        assert client.get(f"{path}/state").json()["reader"] == "<b>Ana</b>"
        assert "<b>Ana" not in client.get(path).text
        assert client.post("/start", json={"name": "<b>Ana</b>"}).json()["link"] == path  # the same reader again
        bodies: list[Any] = [{"name": ""}, {"name": "x" * 61}, {}, []]
        for body in bodies:
            assert client.post("/start", json=body).status_code == 400
    with asking(ReadingRoom(study, ["ana"], start_page=True)) as client:
        assert "not among the readers" in client.post("/start", json={"name": "zoe"}).json()["error"]


def test_links_outlive_a_restart(study: Study, room: ReadingRoom) -> None:
    again = ReadingRoom(Study.open(study.folder))
    assert again.reader_of(room.token("ben")) == "ben"
    study.open_store().add_reader("robot", simulated=True)
    assert ReadingRoom(study).reader_of(room.token("robot")) is None


def test_a_foreign_name_for_this_machine_is_refused(room: ReadingRoom) -> None:
    with asking(room, hosts=("127.0.0.1", "localhost")) as client:
        assert client.get(link(room)).status_code == 200
        response = client.get(link(room), headers={"Host": "evil.example"})
        assert response.status_code == 421 and "\n" not in response.json()["error"]


def test_what_serve_cannot_do_is_told_in_one_line(study: Study, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name the readers with --readers"):
        serve(study.folder, host="0.0.0.0")
    with pytest.raises(UserError, match=r"Cannot listen on 192\.0\.2\.1"):
        serve(study.folder, host="192.0.2.1", readers=["ana"])
    with pytest.raises(UserError, match="is no reader study"):
        serve(tmp_path)


def test_a_large_image_is_streamed_whole(client: httpx.Client, room: ReadingRoom, study: Study) -> None:
    address = next(iter(room.addresses("ana", 0)))
    image: httpx.Response = client.get(f"{link(room)}/image/{address}")
    assert len(image.content) == study.protocol.pictures.bytes == int(image.headers["content-length"])
