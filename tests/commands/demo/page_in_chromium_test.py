"""The page as a person uses it: the program as a process, and headless Chromium.

Screenshots are written to runs/demo_page, where continuous integration may keep them.
"""

import asyncio
import base64
import json
import pathlib
import re
import signal
import subprocess
import sys

import pytest

from tests.commands.demo.chromium import browser, chromium_path
from tests.tiny_models import WORDS

ROOT = pathlib.Path(__file__).resolve().parents[3]
SCREENSHOTS = ROOT / "runs" / "demo_page"
HOSTILE_NAME = "<img src=x onerror=document.title='broken'>.png"
DROP = """
(() => {
  const bytes = Uint8Array.from(atob("%s"), (letter) => letter.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], "%s"));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: files, bubbles: true }));
})()
"""
# Where something is drawn on the map, counted from its middle line on.
DRAWN_PIXEL = """
(() => {
  const canvas = document.querySelector("#map canvas");
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const box = canvas.getBoundingClientRect();
  const middle = Math.floor(height / 2) * width;
  for (let step = 0; step < width * height; step++) {
    const place = (middle + step) % (width * height);
    if (data[4 * place + 3]) {
      return [box.x + (place % width) / width * box.width,
              box.y + Math.floor(place / width) / height * box.height];
    }
  }
})()
"""
TWO_FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
# Drags the map and moves the mouse on, in one go: nothing is drawn in between.
DRAG = """
((x, y, right) => {
  const send = (type, x) => document.getElementById("map").dispatchEvent(
    new PointerEvent(type, { pointerId: 1, clientX: x, clientY: y, bubbles: true }));
  send("pointerdown", x);
  send("pointermove", x + right);
  send("pointerup", x + right);
  send("pointermove", x + right);
  return !card.hidden;
})(%s, %s, %s)
"""
# As where the browser is told to keep nothing of the page.
BLOCK_STORAGE = """
Object.defineProperty(window, "localStorage", { get() { throw new DOMException("blocked"); } });
"""
IMAGE_IS_SEEN = """
(() => {
  const { top, bottom, height } = looked_at.getBoundingClientRect();
  return height > 0 && top >= 0 && bottom <= innerHeight;
})()
"""
# Notes every text of the caption while it is written.
WATCH_CAPTION = """
(() => {
  window.captions = [];
  new MutationObserver(() => captions.push(caption.textContent))
    .observe(document.getElementById("caption"), { childList: true });
})()
"""

# Has the program answer later, or not at all, or stop in the middle of a caption.
LATE = "window.fetch = (...asked) => fetched(...asked).then(answer => new Promise(done => " \
       "setTimeout(() => done(answer), 1000)))"
GONE = "window.fetch = () => Promise.reject(new TypeError('Failed to fetch'))"
CUT_OFF = """
window.fetch = async () => new Response(new ReadableStream({
  start(stream) {
    stream.enqueue(new TextEncoder().encode('{"image": "row-0", "similar": []}\\n'));
    stream.enqueue(new TextEncoder().encode('{"caption": "a half"}\\n'));
    setTimeout(() => %s, 100);
  },
}))
"""
CANVAS = "document.querySelector('#map canvas').toDataURL()"
SAYS_NO_ANSWER = "textContent.startsWith('The program behind this page does not answer')"


@pytest.fixture
def program(preset, photos):
    """The running program, and the address it printed."""
    (photos / "a.png").rename(photos / HOSTILE_NAME)
    process = subprocess.Popen(
        [sys.executable, "-m", "official_coca.cli", "demo", f"--model={preset}"]
        + [f"--images={photos}", "--port=0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = [process.stdout.readline(), process.stdout.readline()]
    address = re.fullmatch(r"open (http://127\.0\.0\.1:\d+) in a browser; Ctrl-C .*\n", lines[1])
    assert address, lines
    yield process, address[1]
    process.kill()
    process.wait()


async def search(page):
    await page.wait_for("document.getElementById('about').textContent.startsWith('5 images')")
    await page.value("document.getElementById('query').focus()")
    await page.type("a red cat")
    await page.wait_for("found.children.length === 5")
    assert "a red cat" in await page.value("search_status.textContent")
    names = await page.value("[...document.querySelectorAll('#found img')].map(i => i.alt)")
    assert HOSTILE_NAME in names and await page.value("document.title") == "CoCa demo"


async def see_pictures(page):
    await page.call("Page.bringToFront")  # a page behind loads no pictures and paints nothing
    await page.wait_for("[...document.querySelectorAll('#found img')].every(i => i.naturalWidth)")


async def drop(page, content, name="dropped.png"):
    await page.value(DROP % (base64.b64encode(content).decode(), name))


async def look(page, content):
    await page.value(WATCH_CAPTION)
    await drop(page, content)
    await page.wait_for("similar.children.length === 5")
    await page.wait_for("caption.getAttribute('aria-busy') === 'false'")
    captions = [text for text in await page.value("captions") if text]
    assert len(captions) >= 3 and len(captions[0]) < len(captions[-1])
    await page.wait_for("probabilities.children.length === 8")


async def edit_labels(page):
    await page.value("labels.focus(); labels.select()")
    await page.type(f"{WORDS[8]}, {WORDS[9]}, {WORDS[8]},")
    await page.wait_for("probabilities.children.length === 2")
    shares = await page.value(
        "[...probabilities.children].map(item => parseFloat(item.lastChild.textContent))"
    )
    assert sum(shares) == pytest.approx(100, abs=0.11) and shares[0] >= shares[1]


async def refuse_labels(page):
    await page.value("labels.focus(); labels.select()")
    await page.type(",".join(map(str, range(201))))
    await page.wait_for("labels_status.classList.contains('problem')")
    assert await page.value("probabilities.children.length") == 0
    await page.value("labels.focus(); labels.select()")
    await page.type("a label of words " * 5)
    await page.wait_for("probabilities.children.length === 1")
    assert not await page.value("labels_status.classList.contains('problem')")
    assert await page.value("probabilities.firstChild.lastChild.offsetHeight") < 30


async def drag_text_into_labels(page):
    x, y = await page.value("(box => [box.x + 20, box.y + 20])(labels.getBoundingClientRect())")
    text = {"mimeType": "text/plain", "data": "lighthouse"}
    await page.drag(x, y, items=[text])
    await page.wait_for("labels.value.includes('lighthouse')")
    assert await page.value("look_problem.hidden")


async def drop_what_is_not_one_image(page, photos):
    paths = [str(photos / "b.PNG"), str(photos / "c.png")]
    await page.drag(700, 50, files=paths)
    await page.wait_for("looked_at_name.textContent.startsWith('b.PNG (the first of 2 files')")
    await page.wait_for("similar.children.length === 5")
    await page.drag(700, 50, files=[str(photos / "beach")])
    await page.wait_for("look_problem.textContent.startsWith('beach cannot be read')")
    await drop(page, b"no image", "notes.png")
    await page.wait_for("look_problem.textContent.includes('cannot be decoded')")
    assert "appears here" in await page.value("caption.textContent")
    assert not await page.value("similar_hint.hidden")


async def hover_map(page):
    """Moves the mouse onto an image of the map; returns where that is."""
    await page.wait_for("map_status.textContent.includes(' images by ')")
    await page.value("document.getElementById('map').scrollIntoView({ block: 'center' })")
    x, y = await page.wait_for(DRAWN_PIXEL)
    await page.mouse("mouseMoved", x, y)
    await page.wait_for("!card.hidden && card.querySelector('img').naturalWidth > 0")
    return x, y


async def press_on_map(page, key):
    """Returns the name of the image at the centre, as it is read out."""
    await page.value("document.getElementById('map').focus()")
    await page.key(key)
    name = await page.value("map_centre.textContent")
    assert name
    return name


async def move_by_keys(page):
    name = await press_on_map(page, "ArrowRight")
    assert name == await page.value("card.querySelector('p').textContent")
    await page.value("document.getElementById('map').blur()")


async def right_click(page, x, y):
    looked_at = await page.value("looked_at_name.textContent")
    assert looked_at != await page.value("card.querySelector('p').textContent")
    await page.mouse("mousePressed", x, y, button="right", clickCount=1)
    await page.mouse("mouseReleased", x, y, button="right", clickCount=1)
    await page.value(TWO_FRAMES)
    assert await page.value("looked_at_name.textContent") == looked_at


async def pan_and_zoom(page, x, y):
    left = await page.value("card.style.left")
    await page.mouse("mousePressed", x, y, button="left", clickCount=1)
    await page.mouse("mouseMoved", x - 40, y, button="left")
    assert await page.value("card.hidden")
    await page.mouse("mouseReleased", x - 40, y, button="left", clickCount=1)
    await page.mouse("mouseMoved", x - 40, y)
    await page.wait_for("!card.hidden")
    assert await page.value("card.style.left") != left
    await page.value(TWO_FRAMES)
    assert await page.value(DRAG % (x - 40, y, -20))
    await page.mouse("mousePressed", x - 60, y, button="left", clickCount=1)
    await page.mouse("mouseReleased", x - 60, y, button="left", clickCount=1)
    name = await page.value("card.querySelector('p').textContent")
    await page.wait_for(f"looked_at_name.textContent === {json.dumps(name)}")
    await page.wait_for(IMAGE_IS_SEEN)
    await page.wait_for("caption.getAttribute('aria-busy') === 'false'")


async def narrow_page_shows_the_image_that_is_chosen(page):
    await page.value("scrollTo(0, document.body.scrollHeight)")
    assert not await page.value(IMAGE_IS_SEEN)
    await page.value("found.querySelector('button').click()")
    await page.wait_for(IMAGE_IS_SEEN)
    await page.wait_for("caption.getAttribute('aria-busy') === 'false'")


async def motion_and_storage_follow_the_settings(page):
    reduce = {"name": "prefers-reduced-motion", "value": "reduce"}
    await page.call("Emulation.setEmulatedMedia", features=[reduce])
    await page.value("caption.setAttribute('aria-busy', 'true')")
    assert await page.value("getComputedStyle(caption, '::after').animationName") == "none"
    pressed = "theme.getAttribute('aria-pressed')"
    assert await page.value(f"{pressed} !== (theme.click(), {pressed})")


async def type_anew(page, field, text):
    await page.value(f"{field}.focus(); {field}.select()")
    await (page.type(text) if text else page.key("Delete"))


async def long_words_keep_a_narrow_page_narrow(page):
    await type_anew(page, "query", "w" * 1000)
    await page.wait_for("search_status.textContent.includes('www')")
    await type_anew(page, "labels", "w" * 1000)
    await page.wait_for("probabilities.children.length === 1")
    await page.value("looked_at_name.textContent = 'w'.repeat(250) + '.png'")
    assert await page.value("document.documentElement.scrollWidth") <= 390


async def cleared_field_gets_no_late_answer(page):
    await page.value("window.fetched ??= fetch")
    await page.value(LATE)
    await type_anew(page, "query", "a late dog")
    await page.wait_for("search_status.textContent === 'Searching …'")
    await page.value("query.value = ''; query.dispatchEvent(new Event('input'))")
    await page.wait_for("search_status.textContent.includes('Type what an image shows')")
    await page.value("new Promise(done => setTimeout(done, 1500))")
    assert await page.value("found.children.length") == 0
    assert "Type what" in await page.value("search_status.textContent")
    await page.value("window.fetch = fetched")


async def failed_search_marks_nothing(page):
    await page.value("photos.click()")
    await type_anew(page, "query", "a cat")
    await page.wait_for("found.children.length === 5")
    await page.value(TWO_FRAMES)
    await page.value(f"void (window.marked = {CANVAS})")
    await page.value(GONE)
    await type_anew(page, "query", "a dog")
    await page.wait_for(f"search_status.{SAYS_NO_ANSWER}")
    await page.value(TWO_FRAMES)
    assert await page.value(f"{CANVAS} !== marked")
    await page.value("window.fetch = fetched; photos.click()")


async def caption_that_is_cut_off_says_so(page):
    for end in ("stream.close()", "stream.error(new TypeError('network error'))"):
        await page.value(CUT_OFF % end)
        await page.value("similar_hint.hidden = true; found.querySelector('button').click()")
        await page.wait_for("caption.textContent === 'a half … (cut off)'")
        assert await page.value(f"look_problem.{SAYS_NO_ANSWER} && !look_problem.hidden")
    await page.value("window.fetch = fetched")


async def map_follows_the_theme_of_the_system(page):
    await page.value(f"void (window.light = {CANVAS})")
    await page.resize(1400, 1000, dark=True)
    await page.wait_for(f"{CANVAS} !== light")
    await page.resize(1400, 1000)


async def first_enter_opens_the_image_at_the_centre(page):
    name = await press_on_map(page, "Enter")
    assert name == await page.value("looked_at_name.textContent")
    await page.wait_for("caption.getAttribute('aria-busy') === 'false'")
    await page.value("document.getElementById('map').blur()")


async def image_that_is_gone_still_has_similar_ones(page, path):
    content = path.read_bytes()
    path.unlink()
    await page.value(f"found.querySelector('img[alt=\"{path.name}\"]').parentNode.click()")
    await page.wait_for("similar.children.length === 4 && probabilities.children.length > 0")
    await page.wait_for(
        f"look_problem.textContent.startsWith('{path.name} cannot be read: no such file')"
    )
    path.write_bytes(content)


async def layout_holds_at_every_size(page):
    height = "document.getElementById('map').offsetHeight"
    assert await page.value(f"{height} === (look.style.minHeight = '3000px', {height})")
    await page.value("look.style.minHeight = ''")
    await page.mouse("mouseMoved", 5, 5)
    await page.value("document.getElementById('map').focus()")
    await page.key("ArrowRight")
    left = await page.value("card.style.left")
    await page.resize(2000, 1000)
    await page.wait_for(f"!card.hidden && card.style.left !== {json.dumps(left)}")
    widths = "['header', 'main'].map(name => document.querySelector(name).offsetWidth)"
    assert await page.value(widths) == [1500, 1500]
    counts = "import('/wording.js').then(words => [1, 1234].map(words.imageCount))"
    assert await page.value(counts) == ["1 image", "1,234 images"]


@pytest.mark.slow
def test_page_works_in_chromium(program, photos, tmp_path):
    chromium_path()
    process, address = program
    image = (photos / "b.PNG").read_bytes()

    async def use():
        async with browser(tmp_path / "chromium") as new_page:
            page, second = await new_page(), await new_page()
            await page.open(address)
            await second.call("Page.addScriptToEvaluateOnNewDocument", source=BLOCK_STORAGE)
            await second.open(address, width=390, height=844, dark=True)
            await asyncio.gather(search(page), search(second))
            await asyncio.gather(look(page, image), look(second, image))
            await see_pictures(second)
            await second.screenshot(SCREENSHOTS / "phone_dark.png")
            await see_pictures(page)
            await edit_labels(page)
            await map_follows_the_theme_of_the_system(page)
            await first_enter_opens_the_image_at_the_centre(page)
            await move_by_keys(page)
            x, y = await hover_map(page)
            await right_click(page, x, y)
            await pan_and_zoom(page, x, y)
            await page.screenshot(SCREENSHOTS / "wide.png")
            width = await second.value("document.documentElement.scrollWidth")
            assert width <= 390
            await narrow_page_shows_the_image_that_is_chosen(second)
            await motion_and_storage_follow_the_settings(second)
            await long_words_keep_a_narrow_page_narrow(second)
            await drag_text_into_labels(page)
            assert not page.problems and not second.problems
            await refuse_labels(page)
            await cleared_field_gets_no_late_answer(page)
            await failed_search_marks_nothing(page)
            await type_anew(page, "query", "a cat")
            await page.wait_for("found.children.length === 5")
            await caption_that_is_cut_off_says_so(page)
            await image_that_is_gone_still_has_similar_ones(page, photos / "c.png")
            await layout_holds_at_every_size(page)
            await drop_what_is_not_one_image(page, photos)
            outside = [entry for entry in await page.value(
                "performance.getEntriesByType('resource').map(e => e.name)"
            ) if not entry.startswith((address, "blob:", "data:"))]  # fmt: skip
            assert outside == []

    asyncio.run(use())
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
