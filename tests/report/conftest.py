"""A browser for the report's pages, and a watch over what they do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Error, Page, sync_playwright

from harness.report.html import render_html
from harness.report.view import ReportView, VerdictKind
from tests.report.samples import make_view

CHROMIUM = Path("/usr/bin/chromium")
# A container has no sandbox and little shared memory.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return headless Chromium: the system's, else playwright's own."""
    with sync_playwright() as play:
        path = str(CHROMIUM) if CHROMIUM.exists() else None
        try:
            opened = play.chromium.launch(executable_path=path, args=ARGUMENTS)
        except Error as error:
            pytest.skip(f"no Chromium to open the page in: {error.message.splitlines()[0]}")
        yield opened
        opened.close()


VIEW = make_view(160, verdict=VerdictKind.PASS)


@dataclass(slots=True)
class Watch:
    """What a page did that it must not do."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


Opener = Callable[..., tuple[Page, Watch]]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Opener]:
    """Return a function that opens a view and watches the page; it is checked at the end."""
    watches: list[Watch] = []
    pages: list[Page] = []

    def open_view(
        view: ReportView = VIEW,
        *,
        width: int = 1440,
        scheme: str = "light",
        fragment: str = "",
        text: str | None = None,
    ) -> tuple[Page, Watch]:
        path = tmp_path / "report.html"
        path.write_text(render_html(view) if text is None else text, encoding="utf-8")
        watch = Watch()
        page = browser.new_page(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        page.on("pageerror", lambda error: watch.errors.append(str(error)))
        page.on(
            "console",
            lambda message: (
                watch.errors.append(message.text) if message.type in {"error", "warning"} else None
            ),
        )

        def refuse(dialog: Dialog) -> None:
            watch.dialogs.append(dialog.message)
            dialog.dismiss()

        page.on("dialog", refuse)
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("data:", path.as_uri()))
                else watch.requests.append(request.url)
            ),
        )
        watches.append(watch)
        pages.append(page)
        page.goto(path.as_uri() + fragment)
        page.wait_for_selector("html[data-ready]")
        return page, watch

    yield open_view
    for page in pages:
        page.close()
    for watch in watches:
        assert watch.errors == []
        assert watch.requests == []
        assert watch.dialogs == []
