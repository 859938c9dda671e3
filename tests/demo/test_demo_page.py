"""The demo's page in a real browser: what a person sees is what the API answered, labelled, within the cap.

Set ADSERVER_TEST_PICTURES to a folder to keep the screenshots.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import browser
import pytest
from browser import Browser

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SIZES = {
    "phone": (390, 844, False, True),
    "small": (360, 740, True, True),
    "desktop": (1280, 900, False, False),
}
CAP = (6, 100)

_ITEMS = """[...document.querySelectorAll('#feed > article')].map(item => ({
  kind: item.dataset.kind, position: Number(item.dataset.position),
  label: item.querySelector('.label')?.innerText ?? null, why: !!item.querySelector('.ask'),
  wide: item.getBoundingClientRect().width,
  links: [...item.querySelectorAll('a')].map(link => link.getAttribute('href')),
  pictures: [...item.querySelectorAll('img')].map(image => image.getAttribute('src')),
}))"""
_LOADED = "document.querySelectorAll('#feed article').length >= 12"
_HIDE = """[...document.querySelectorAll('[data-kind=sponsored] button')]
  .find((button) => button.innerText === 'Hide').click()"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The page of a running demo."""
    if browser.program() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no Chromium: install the package chromium")
        pytest.skip("THERE IS NO CHROMIUM: the demo's page was not looked at (install the package chromium)")
    command = [sys.executable, "-m", "adserver", "demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as demo:
        assert demo.stdout is not None
        line = demo.stdout.readline()
        found = re.search(r"http://\S+/demo", line)
        try:
            assert found is not None, line
            yield found[0]
        finally:
            demo.terminate()
            said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0, said
    assert "the audit is clean" in said


def opened(page: Browser, url: str) -> None:
    page.open(url)
    page.wait(_LOADED)


def scrolled(page: Browser, items: int) -> list[dict[str, Any]]:
    """The feed's items after scrolling to so many."""
    script = f"""new Promise(async (done) => {{
      const deadline = Date.now() + 20000;
      while (document.querySelectorAll('#feed article').length < {items} && Date.now() < deadline) {{
        document.querySelector('#feed').lastElementChild.scrollIntoView();
        await new Promise((next) => setTimeout(next, 50));
      }}
      done(document.querySelectorAll('#feed article').length);
    }})"""
    assert page.run(script) >= items
    found: list[dict[str, Any]] = page.run(_ITEMS)
    return found


def keep(page: Browser, name: str) -> None:
    """A screenshot, checked to be one, kept if somebody wants to look."""
    folder = os.environ.get("ADSERVER_TEST_PICTURES")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.wait("[...document.images].every((image) => image.complete || image.loading === 'lazy')")
        page.picture(Path(folder) / f"{name}.png")


@pytest.mark.parametrize("size", SIZES)
def test_the_feed_holds_what_the_server_decided(url: str, size: str, tmp_path: Path) -> None:
    width, height, dark, mobile = SIZES[size]
    with Browser(width, height, dark, mobile) as page:
        opened(page, url)
        keep(page, f"{size}-top")
        items = scrolled(page, 60)
        check_feed(items)
        check_gauge(page, items)
        assert page.run("document.documentElement.scrollWidth") <= width
        assert max(item["wide"] for item in items) <= width
        page.run("document.querySelector('[data-kind=sponsored]').scrollIntoView({block: 'center'})")
        broken = (
            "[...document.querySelectorAll('.ad-card img')].filter(i => i.complete && !i.naturalWidth).length"
        )
        assert page.run(broken) == 0
        keep(page, f"{size}-sponsored")
        assert page.complaints() == []


def check_feed(items: list[dict[str, Any]]) -> None:
    """Positions without gaps; ads labelled, explained, from this server; the cap at every prefix."""
    assert [item["position"] for item in items] == list(range(len(items)))
    sponsored = 0
    for items_so_far, item in enumerate(items, 1):
        if item["kind"] != "sponsored":
            assert item["kind"] == "organic" and item["label"] is None
            continue
        sponsored += 1
        assert sponsored <= CAP[0] * items_so_far // CAP[1]
        assert item["label"] == "Sponsored · Sponsorisé" and item["why"]
        assert all(link.startswith("/c/") for link in item["links"]) and item["links"]
        assert all(source.startswith("/artwork/") for source in item["pictures"])
    assert sponsored >= 2
    gap = [item["position"] for item in items if item["kind"] == "sponsored"]
    assert all(later - earlier > 4 for earlier, later in pairwise(gap))


def check_gauge(page: Browser, items: list[dict[str, Any]]) -> None:
    """What it says is what stands in the feed."""
    sponsored = sum(item["kind"] == "sponsored" for item in items)
    words = page.run("document.querySelector('#gauge').textContent").split()
    assert float(words[0]) == round(100 * sponsored / len(items), 1)
    assert (
        str(len(items)) in words and page.run("document.querySelector('#gauge-cap').textContent") == "cap 6 %"
    )


def test_looking_is_told_once_and_the_ad_is_explained(url: str) -> None:
    with Browser(390, 844, mobile=True) as page:
        opened(page, url)
        scrolled(page, 36)
        page.run("document.querySelector('[data-kind=sponsored]').scrollIntoView({block: 'center'})")
        ident = page.run("document.querySelector('[data-kind=sponsored]').dataset.eventId")
        page.wait_called("v")
        told = page.called("i")
        assert told and len(told) == len(set(told))
        page.run("document.querySelector('[data-kind=sponsored] .ask').click()")
        words = page.wait(
            "document.querySelector('#why[open] ul') && document.querySelector('#why-words').innerText"
        )
        keep(page, "phone-why")
        assert "you see this because".upper() in words.upper() and "How often".upper() in words.upper()
        told_by_code = page.run(f"fetch('/demo/why/{ident}').then((reply) => reply.json())")
        assert told_by_code["matched"] and told_by_code["rank"] >= 1
        assert all(item["outcome"] != "won" for item in told_by_code["ahead"])
        assert page.complaints() == []


def test_without_consent_nothing_about_the_person_is_used(url: str) -> None:
    with Browser(1280, 900) as page:
        opened(page, url)
        session = page.run("document.querySelector('#feed article').dataset.position")
        page.run("document.querySelector('#consent').click()")
        page.wait(_LOADED)
        assert session == "0"
        scrolled(page, 40)
        idents = page.run("[...document.querySelectorAll('[data-event-id]')].map(one => one.dataset.eventId)")
        assert idents
        for ident in idents:
            told = page.run(f"fetch('/demo/why/{ident}').then((reply) => reply.json())")
            assert told["personalised"] is False and told["personal"] is False


def test_hiding_an_ad_keeps_its_place(url: str) -> None:
    with Browser(1280, 900) as page:
        opened(page, url)
        before = scrolled(page, 36)
        page.run(_HIDE)
        gone = page.run("document.querySelector('[data-kind=sponsored]').innerText")
        assert "Hidden" in gone
        assert [item["position"] for item in page.run(_ITEMS)][: len(before)] == list(range(len(before)))
        page.wait_called("h")
        assert page.complaints() == []


def test_another_reader_has_another_feed(url: str) -> None:
    with Browser(1280, 900) as page:
        opened(page, url)
        first = page.run("document.querySelector('#feed article').innerText")
        page.run("document.querySelectorAll('#people input')[3].click()")
        page.wait("document.querySelector('#reader-name').textContent.startsWith('Sigrid')")
        page.wait(f"document.querySelector('#feed article')?.innerText !== {first!r}")
        page.wait(_LOADED)
        assert page.complaints() == []
