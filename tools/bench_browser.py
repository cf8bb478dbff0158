"""From the mouse to the changed pixels: `python tools/bench_browser.py`.

A script in the page notes when the browser received a pointer event, when the explorer's picture
was replaced, and when the second animation frame after its decoding began: by then the pixels are
on the screen. The kernel reports in the explorer's status line how long it computed and drew; what
is left of the whole is transport: the slider, the messages both ways, decoding and painting.
"""

import random
import re
import tempfile
from pathlib import Path

import lab
import numpy as np

from inrlib import explorers

MOVES, DRAGS = 100, 10

WATCH = """
image => {
  const bench = window.bench = {frames: [], moved: 0, released: 0, waiting: null};
  const later = callback => requestAnimationFrame(() => requestAnimationFrame(callback));
  document.addEventListener('pointermove', event => { bench.moved = event.timeStamp; }, true);
  document.addEventListener('pointerup', event => { bench.released = event.timeStamp; }, true);
  new MutationObserver(() => {
    const placed = performance.now();
    image.decode().then(() => later(() => {
      bench.frames.push({placed, shown: performance.now()});
      bench.waiting?.();
    }), () => {});  // replaced before it was decoded
  }).observe(image, {attributeFilter: ['src']});
  // The first frame beyond `seen`, and the status line once it has followed; null if none comes
  // in 5 s.
  bench.next = async (seen, status) => {
    const late = new Promise(resolve => setTimeout(resolve, 5000));
    const come = new Promise(resolve => { bench.waiting = resolve; });
    if (bench.frames.length <= seen) await Promise.race([come, late]);
    bench.waiting = null;
    const frame = bench.frames[seen];
    if (!frame) return null;
    const whole = frame.shown - bench.moved, show = frame.shown - frame.placed;
    for (let i = 0; i < 40 && (i < 3 || !status.innerText.includes('computed')); i++)
      await new Promise(resolve => setTimeout(resolve, 20));
    return {whole, show, text: status.innerText, frames: bench.frames.length};
  };
  // Waits until no frame has come for a second.
  bench.quiet = async () => {
    for (let seen = -1; seen != bench.frames.length;) {
      seen = bench.frames.length;
      await new Promise(resolve => setTimeout(resolve, 1000));
    }
    // What training refines later is no longer the answer to the move.
    const first = bench.frames.find(frame => frame.shown > bench.released);
    const after = first ? first.shown - bench.released : 0;
    return {frames: bench.frames.length, after, src: image.src};
  };
}
"""


LIMITS = {"eigenfunctions": 250, "dashboard": 400}
"""What p95 in ms is held to; 150 for any other explorer."""


def separate(page, status, places, y) -> list[dict]:
    """One measurement per move; each move waits for its frame.

    Raises:
      RuntimeError: a move without a frame, or a frame with an error.
    """
    found, seen = [], page.evaluate("bench.frames.length")
    for x in places:
        page.mouse.move(x, y)
        entry = page.evaluate("([seen, status]) => bench.next(seen, status)", [seen, status])
        text = entry and re.search(r"computed in (\d+) ms, drawn in (\d+) ms", entry["text"])
        if not text:
            raise RuntimeError(f"a move to {x:.0f} px brought no frame: {entry}")
        seen = entry["frames"]
        found.append(entry | {"compute": float(text[1]), "draw": float(text[2])})
    return found


def rate(page, left, right, y, seconds: float = 4) -> float:
    """Frames per second while the mouse goes to and fro."""
    before, start = page.evaluate("[bench.frames.length, performance.now()]")
    now, step = start, 0
    while now < start + 1e3 * seconds:
        share = abs((step / 60) % 2 - 1)
        page.mouse.move(left + (right - left) * share, y)
        step += 1
        now = page.evaluate("performance.now()")
    after = page.evaluate("bench.frames.length")
    return 1e3 * (after - before) / (now - start)


def measure(page, cell, name: str) -> list[str]:
    """An explorer's row of the table."""
    image = cell.locator(".widget-image").element_handle()
    status = cell.locator(".widget-html", has_text="computed in").element_handle()
    page.evaluate(WATCH, image)
    (x, y), (left, right) = lab.handle(cell)
    page.mouse.move(x, y)
    page.mouse.down()
    shares = random.Random(0)
    # Neighbours lie far apart, so that every move changes the picture even of a slider with four
    # positions.
    places, at = [], 0.5
    for _ in range(MOVES + 5):
        at = (at + shares.uniform(0.4, 0.6)) % 1
        places.append(left + (right - left) * at)
    moves = separate(page, status, places, y)[5:]  # the first ones warm up
    frames = rate(page, left, right, y)
    page.mouse.up()
    page.evaluate("bench.quiet()")

    # Across the whole range as fast as the browser can; the same end must give the same picture.
    after, ends = [], {left: set(), right: set()}
    for turn in range(DRAGS):
        end = (left, right)[turn % 2]
        (x, y), _ = lab.handle(cell)
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(end + (-20, 20)[turn % 2], y, steps=15)
        page.mouse.up()
        after.append(max(0.0, page.evaluate("bench.quiet()")["after"]))
        ends[end].add(image.evaluate(lab.PICTURE_HASH))
    whole, show, compute, draw = (
        np.array([move[key] for move in moves]) for key in ("whole", "show", "compute", "draw")
    )
    p50, p95 = np.percentile(whole, [50, 95])
    return [
        name,
        f"{p50:.0f}",
        f"{p95:.0f}",
        f"{LIMITS.get(name, 150)}",
        f"{np.median(compute):.0f}",
        f"{np.median(draw):.0f}",
        f"{np.median(whole - compute - draw - show):.0f}",
        f"{np.median(show):.0f}",
        f"{frames:.1f}",
        f"{np.median(after):.0f}",
        f"{max(after):.0f}",
        f"{len(moves)}",
        "yes" if all(len(pictures) == 1 for pictures in ends.values()) else "no",
    ]


HEADER = [
    *("explorer", "p50", "p95", "limit", "computing", "drawing", "transport", "showing"),
    *("frames/s", "after release", "worst", "moves", "same ends"),
]


def _print(row: list[str]) -> None:
    first, *others = (f"{cell:>{len(name)}}" for cell, name in zip(row, HEADER, strict=True))
    print(f"{first:<21}", *others, sep="  ", flush=True)


def main() -> None:
    if lab.chromium() is None:
        print(f"left out: {lab.MISSING}")
        return
    print("from the mouse event to the changed pixels, in ms; the parts are medians")
    _print(HEADER)
    with (
        tempfile.TemporaryDirectory() as folder,
        lab.jupyterlab(Path(folder)) as running,
        lab.browser() as browser,
    ):
        for name in explorers.ALL:
            source = f"from inrlib import explorers\nexplorers.{name}()"
            lab.write_notebook(Path(folder) / "bench.ipynb", [source])
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            cells = lab.open_notebook(page, running, "bench.ipynb")
            lab.run_all(page, 1)
            _print(measure(page, cells.first, name))
            page.close()
    print("same ends: eigenfunctions keep the signs of the frame before, so theirs may differ")


if __name__ == "__main__":
    main()
