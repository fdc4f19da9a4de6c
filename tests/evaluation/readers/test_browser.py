"""The page in a real browser, driven with keys and mouse; what it and its traffic give away."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response, expect, sync_playwright
from tests.data.readers import SYSTEMS, make_folders, make_small_study, serving

from transmodal.evaluation.readers.answers import REAL
from transmodal.evaluation.readers.server import ReadingRoom
from transmodal.evaluation.readers.study import Study, read_answers

pytestmark = pytest.mark.xdist_group("browser")

_ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS.split())
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folders(tmp_path_factory.mktemp("images"), cases=4, size=(24, 40))


@dataclass
class Traffic:
    """All that goes over the wire and all that the page complains of."""

    responses: list[Response] = field(default_factory=list)
    bodies: list[tuple[Response, bytes]] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("request", lambda request: self.sent.append(f"{request.url} {request.post_data or ''}"))
        page.on("response", lambda response: self.responses.append(response))
        page.on("console", lambda message: self.complaints.extend([message.text] if message.type == "error" else []))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def collect(self) -> None:
        """Take the bodies of what came since the last time; the browser forgets them when the page is left."""
        self.bodies += [(response, response.body()) for response in self.responses]
        self.responses.clear()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1100, "height": 750})
    context.set_default_timeout(15_000)
    yield context
    context.close()


def wait_for_trial(page: Page, number: int, of: int) -> None:
    # No wait_for_function: it evaluates text, which the page's security policy forbids.
    expect(page.locator("#count")).to_have_text(f"{number} of {of}")


def brightness(page: Page) -> list[float]:
    """Return the mean of the red channel of each canvas."""
    script = """() => [...document.querySelectorAll('#panes canvas')].map((canvas) => {
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        let total = 0;
        for (let place = 0; place < data.length; place += 4) total += data[place];
        return (4 * total) / data.length;
    })"""
    result: list[float] = page.evaluate(script)
    return result


def identities(study: Study) -> list[str]:
    """Return every word that must not reach a reader."""
    known = study.key.images.values()
    words = {each.case for each in known} | {each.subject for each in known} | set(SYSTEMS)
    return sorted(words | set(study.key.images) | set(study.key.references.values()) | {"quokka", "pose"})


def test_a_whole_study_with_a_reload_in_the_middle_tells_nothing(
    context: BrowserContext, folders: Path, tmp_path: Path
) -> None:
    study = make_small_study(folders, tmp_path / "study", "real-or-synthetic", reference=True, repeats=0.25)
    traffic, seen, chosen = Traffic(), [], []
    with serving(ReadingRoom(study, start_page=True)) as origin:
        page = context.new_page()
        traffic.watch(page)
        page.goto(origin)
        traffic.collect()
        page.keyboard.type("Ana <i>")
        page.keyboard.press("Enter")
        wait_for_trial(page, 1, 10)
        traffic.responses[:] = [each for each in traffic.responses if not each.url.endswith("/start")]
        page.keyboard.press("Enter")  # closes the instructions
        for trial in range(10):
            wait_for_trial(page, trial + 1, 10)
            seen += [page.content(), page.inner_text("body"), page.title(), page.url]
            if trial == 4:
                page.keyboard.press("r")  # chosen, not confirmed: a reload forgets it
                traffic.collect()
                page.reload()
                wait_for_trial(page, 5, 10)
                assert page.locator("#confirm").is_disabled()
            answer = ("real", "synthetic", "synthetic")[trial % 3]
            chosen.append(answer)
            if trial % 2:
                page.get_by_role("radio", name=answer.capitalize()).click()
                page.click("#confirm")
            else:
                page.keyboard.press(answer[0])
                page.keyboard.press("Enter")
        page.wait_for_selector("#finished:not([hidden])")
        seen += [page.content(), page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")]
        sizes = page.evaluate(
            "performance.getEntriesByType('resource').map((each) => [each.name, each.decodedBodySize])"
        )
        traffic.collect()
    assert traffic.complaints == []
    table = read_answers(study.folder).table
    assert list(table["answer"]) == chosen and set(table["reader"]) == {"Ana <i>"}
    assert (table["seconds"] > 0).all()

    headers = [json.dumps(response.all_headers()) for response, _ in traffic.bodies]
    texts = [body.decode() for response, body in traffic.bodies if "/image/" not in response.url]
    everything = "\n".join([*seen, *traffic.sent, *headers, *texts])
    assert not [word for word in identities(study) if word in everything]
    assert "&lt;i&gt;" in everything and "not for diagnosis" in everything

    of_system = image_facts(study, traffic.bodies)
    assert of_system[REAL] == set.union(*(of_system[name] for name in SYSTEMS)) and len(of_system[REAL]) == 1
    image_sizes = {size for name, size in sizes if "/image/" in name}
    assert len(image_sizes) <= 2  # what is judged, and the photograph beside


def image_facts(study: Study, bodies: list[tuple[Response, bytes]]) -> dict[str, set[Any]]:
    """Return for each system what can be seen of its images' transfer without looking at them."""
    reader = study.open_store().readers()[0].name
    room = ReadingRoom(study)
    system_of = {
        address: study.key.images[name].system
        for trial in range(len(room.plan(reader)))
        for address, name in room.addresses(reader, trial).items()
        if name in study.key.images
    }
    facts: dict[str, set[Any]] = {}
    for response, body in bodies:
        found = re.search(r"/image/(\w+)$", response.url)
        if found and found[1] in system_of:
            headers = tuple(sorted(response.all_headers().items()))
            told = (response.status, len(body), headers, len(response.url))
            facts.setdefault(system_of[found[1]], set()).add(told)
    return facts


def test_a_rating_by_keys_is_stored_with_its_view(context: BrowserContext, folders: Path, tmp_path: Path) -> None:
    study = make_small_study(
        folders, tmp_path / "study", "rating", criteria=("realism", "anatomy"), limits=(0, 200), cases=1, repeats=0.0
    )
    room = ReadingRoom(study, ["ana"])
    traffic = Traffic()
    with serving(room) as origin:
        page = context.new_page()
        traffic.watch(page)
        page.goto(f"{origin}/r/{room.token('ana')}")
        wait_for_trial(page, 1, 3)
        page.click("#begin")
        page.keyboard.press("5")
        assert page.locator(".choice.active").get_attribute("aria-label") == "anatomy"
        page.keyboard.press("Enter")  # one criterion is open: nothing is sent
        page.keyboard.press("9")  # not on the scale
        page.keyboard.press("2")
        page.keyboard.press("Backspace")
        assert page.locator("#confirm").is_disabled()
        page.keyboard.press("3")
        before = brightness(page)
        page.keyboard.press("n")
        page.keyboard.press("b")
        assert brightness(page) != before
        page.keyboard.press("+")
        page.keyboard.press("Shift+ArrowLeft")
        assert page.text_content("#zoom") == "125 %"
        page.keyboard.press("Space")
        wait_for_trial(page, 2, 3)
        assert page.text_content("#zoom") == "fit"  # each image begins whole
        page.keyboard.press("x")
        for key in "14":
            page.keyboard.press(key)
        page.keyboard.press("ArrowUp")
        page.keyboard.press("2")
        page.keyboard.press("Enter")
        wait_for_trial(page, 3, 3)
    assert traffic.complaints == []
    assert [each.answer for each in room.store.answers()] == ["5", "3", "2", "4"]
    sent = [json.loads(line.split(" ", 1)[1]) for line in traffic.sent if "/answer " in line]
    assert sent[0]["window"] == pytest.approx(200 / 1.15) and sent[0]["level"] < 100
    assert sent[0]["zoom"] == pytest.approx(1.25 * sent[1]["zoom"])


def test_two_images_move_together(context: BrowserContext, folders: Path, tmp_path: Path) -> None:
    study = make_small_study(folders, tmp_path / "study", "preference", ties=True, reference=True, repeats=0.0)
    room = ReadingRoom(study, ["ana"])
    traffic = Traffic()
    with serving(room) as origin:
        page = context.new_page()
        traffic.watch(page)
        page.goto(f"{origin}/r/{room.token('ana')}")
        wait_for_trial(page, 1, 4)
        page.click("#begin")
        labels = page.locator("#panes canvas").evaluate_all("all => all.map((one) => one.ariaLabel)")
        assert labels == ["Left", "Right", "for comparison"]
        whole = brightness(page)
        box = page.locator("canvas").first.bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.wheel(0, -600)
        expect(page.locator("#zoom")).not_to_have_text("fit")
        zoomed = brightness(page)
        assert all(now != before for now, before in zip(zoomed, whole, strict=True))
        page.mouse.down()
        page.mouse.move(x + 60, y + 20, steps=3)
        page.mouse.up()
        panned = brightness(page)
        assert all(now != before for now, before in zip(panned, zoomed, strict=True))
        page.mouse.move(x, y)
        page.mouse.down(button="right")
        page.mouse.move(x - 80, y, steps=3)
        page.mouse.up(button="right")
        windowed = brightness(page)
        assert windowed[2] == panned[2] and windowed[:2] != panned[:2]  # the photograph keeps its own greys
        page.keyboard.press("x")
        assert brightness(page) == pytest.approx(whole)
        for key, number in (("e", 2), ("ArrowLeft", 3), ("ArrowRight", 4)):
            page.keyboard.press(key)
            page.keyboard.press("Enter")
            wait_for_trial(page, number, 4)
    assert traffic.complaints == []
    assert [each.answer for each in room.store.answers()] == ["tie", "left", "right"]


def test_the_second_of_two_tabs_goes_on_with_the_open_trial(
    context: BrowserContext, folders: Path, tmp_path: Path
) -> None:
    study = make_small_study(folders, tmp_path / "study", "which-is-real", repeats=0.0)
    room = ReadingRoom(study, ["ana"])
    with serving(room) as origin:
        tabs = [context.new_page() for _ in range(2)]
        for tab in tabs:
            tab.goto(f"{origin}/r/{room.token('ana')}")
            wait_for_trial(tab, 1, 4)
            tab.click("#begin")
        tabs[0].keyboard.press("ArrowLeft")
        tabs[0].keyboard.press("Enter")
        wait_for_trial(tabs[0], 2, 4)
        tabs[1].keyboard.press("ArrowRight")
        tabs[1].keyboard.press("Enter")
        wait_for_trial(tabs[1], 2, 4)
        assert "answers are final" in tabs[1].inner_text("#message")
        assert [each.answer for each in room.store.answers()] == ["left"]


def test_an_answer_that_cannot_be_sent_is_kept_on_the_page(
    context: BrowserContext, folders: Path, tmp_path: Path
) -> None:
    study = make_small_study(folders, tmp_path / "study", "which-is-real", repeats=0.0)
    room = ReadingRoom(study, ["ana"])
    with serving(room) as origin:
        page = context.new_page()
        page.goto(f"{origin}/r/{room.token('ana')}")
        wait_for_trial(page, 1, 4)
        page.click("#begin")
        page.route("**/answer", lambda route: route.abort())
        expect(page.locator("#instructions")).not_to_be_visible()
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#confirm")).to_be_enabled()
        page.keyboard.press("Enter")
        expect(page.locator("#message")).to_contain_text("not stored")
        page.unroute("**/answer")
        page.keyboard.press("Enter")
        wait_for_trial(page, 2, 4)
        assert page.inner_text("#message") == ""
    assert [each.answer for each in room.store.answers()] == ["left"]


def test_a_wrong_link_is_told(context: BrowserContext, folders: Path, tmp_path: Path) -> None:
    study = make_small_study(folders, tmp_path / "study", "which-is-real")
    with serving(ReadingRoom(study, ["ana"], start_page=True)) as origin:
        page = context.new_page()
        page.goto(origin)
        page.fill("#name", "zoe")
        page.keyboard.press("Enter")
        page.wait_for_selector("#trouble:not([hidden])")
        said = page.inner_text("#trouble-text")
        assert "not among the readers" in said and said.endswith("invited by. Reload the page to try again.")
        page.goto(f"{origin}/r/{'0' * 32}")
        assert page.locator("h1").inner_text() == "Reader study"
        assert page.get_by_role("alert").inner_text() == "This link is unknown; check that it is complete."


def test_what_the_page_says_of_scale_view_and_size(context: BrowserContext, folders: Path, tmp_path: Path) -> None:
    study = make_small_study(folders, tmp_path / "study", "rating", limits=(-5, 65535), cases=2, repeats=0.2)
    room = ReadingRoom(study, ["ana"])
    with serving(room) as origin:
        page = context.new_page()
        page.goto(f"{origin}/r/{room.token('ana')}")
        wait_for_trial(page, 1, 7)
        assert page.inner_text("#workload") == f"You will give {study.workload().replace(' a reader', '')}."
        assert study.workload() == "7 answers a reader (6 items, 1 repeated)"
        page.click("#begin")
        assert page.locator(".criterion").all_inner_texts() == ["realism", "anatomy", "freedom from artefacts"]
        assert [text.strip() for text in page.locator(".scale span").all_inner_texts()] == ["1 worst", "…", "5 best"]
        assert page.get_by_role("radio", name="freedom from artefacts: 5 of 5, best").is_visible()
        shown = page.evaluate(
            "[...document.querySelectorAll('.criterion')].every((e) => e.scrollWidth <= e.clientWidth)"
        )
        assert shown  # no name is cut
        assert (page.text_content("#window-value"), page.text_content("#level-value")) == ("65540", "32765")
        assert page.text_content("#zoom") == "fit"
        for key in "555":
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        wait_for_trial(page, 2, 7)
    assert [each.question for each in room.store.answers()] == ["realism", "anatomy", "artefacts"]
