"""A real Chromium for the pages, and what must never happen in one: an error, or a request that leaves."""

import contextlib
import shutil

import pytest

#: Debian's; others have other names.
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"),
    *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """browser(*flags): a Chromium with more flags, closed at the end of the module."""
    playwright = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("there is no Chromium: apt install chromium")
    with contextlib.ExitStack() as stack:
        driver = stack.enter_context(playwright.sync_playwright())
        running = {}

        def start(*flags):
            if flags not in running:
                running[flags] = driver.chromium.launch(executable_path=BROWSER, args=[*FLAGS, *flags])
                stack.callback(running[flags].close)
            return running[flags]

        yield start


@pytest.fixture
def visit(browser):
    """visit(address, wide, tall, scheme, flags): a page that is ready; at the end, that nothing went wrong in it."""
    opened = []

    def go(address, wide=1280, tall=900, scheme="light", flags=()):
        context = browser(*flags).new_context(viewport={"width": wide, "height": tall}, color_scheme=scheme)
        page = context.new_page()
        problems, requests = [], []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        opened.append((context, problems, requests, address))
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        page.requests = requests
        return page

    yield go
    for context, problems, requests, address in opened:
        context.close()
        assert not problems
        kinds = ("data:", "blob:", "file:", address.partition("?")[0].rpartition("/")[0])
        assert [url for url in requests if not url.startswith(kinds)] == []
