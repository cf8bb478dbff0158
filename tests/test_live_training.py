"""Training while the reader looks: cancelled, paused, hurried, finished, and never left over."""

import asyncio
import random
import re
import sys

import jax
import numpy as np
import pytest
from hands import opened, words

from inrlib import fitting, live, networks, plots, signals
from inrlib.live import training
from inrlib.live.training import Pace


@pytest.fixture(autouse=True)
def no_rest(monkeypatch):
    monkeypatch.setattr(training, "REST", 0.01)


def draw(y, **_):
    fig, ((ax,),) = plots.figure()
    update = plots.curves(ax, np.arange(3), {"y": y}, ylim=(-1, 50))
    return fig, {"y": lambda y: update({"y": y})}


class Toy:
    """An explorer whose training adds one to its curve, twenty times, and is watched doing so."""

    def __init__(self, fails_at=None):
        self.open, self.steps = 0, []

        def train(pace, x):
            self.open += 1
            try:
                for step in range(21):
                    if step == fails_at:
                        raise ValueError("the loss is not finite; lower the rate.")
                    self.steps.append((x, step))
                    part = np.full(3, x + step)
                    yield step / 20, lambda part=part: {"y": part}
            finally:
                self.open -= 1

        compute = lambda x: {"y": np.full(3, x), "kept": x}
        control = live.slider("x", "units", 0.1, 10, 1)
        self.explorer = live.Explorer({"x": control}, compute, draw, train)
        self.training = self.explorer.training
        self.steps.clear()

    def move(self, x):
        self.explorer.controls["x"].value = x

    async def until(self, share):
        while self.training.share < share:
            await asyncio.sleep(0.001)

    @property
    def y(self):
        return self.explorer.frame["y"][0]


def test_a_move_shows_what_is_exact_and_then_trains():
    async def look():
        toy = Toy()
        toy.move(3)
        assert (toy.y, toy.training.share) == (3, 0)
        await toy.until(1)
        assert toy.y == 23
        assert toy.explorer.frame["kept"] == 3
        assert [step for _, step in toy.steps] == list(range(21))

    asyncio.run(look())


def test_fifty_moves_at_random_times_leave_the_last_one_and_nothing_else():
    async def look():
        toy, draws = Toy(), random.Random(0)
        for _ in range(50):
            toy.move(x := round(draws.uniform(1, 9), 3))
            assert toy.y == x
            await asyncio.sleep(draws.choice([0, 0.005, 0.02, 0.05, 0.1]))
            seen = {value for value, step in toy.steps if step}
            assert toy.y == pytest.approx(x + round(20 * toy.training.share)) or x in seen
            toy.steps.clear()
            assert toy.open <= 1
        await toy.until(1)
        await asyncio.sleep(0.02)
        assert toy.y == pytest.approx(x + 20)
        assert toy.open == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(look())


def test_a_move_ends_a_training_within_a_stretch():
    async def look():
        toy = Toy()
        toy.move(2)
        await toy.until(0.3)
        toy.move(5)
        steps = len(toy.steps)
        await asyncio.sleep(0.005)
        assert all(x == 5 for x, _ in toy.steps[steps:])
        assert toy.open <= 1
        toy.training.cancel()
        await asyncio.sleep(0.05)
        assert toy.open == 0

    asyncio.run(look())


def test_pause_holds_and_resume_goes_on_where_it_was():
    async def look():
        toy = Toy()
        toy.move(2)
        await toy.until(0.3)
        toy.training.pause.value = True
        assert toy.training.pause.description == "Resume"
        await asyncio.sleep(0.05)
        held = len(toy.steps)
        await asyncio.sleep(0.1)
        assert len(toy.steps) == held < 21
        toy.training.pause.value = False
        await toy.until(1)
        assert [step for _, step in toy.steps] == list(range(21))
        toy.training.pause.value = True
        toy.move(4)  # a move means: show me
        await toy.until(1)
        assert toy.y == 24

    asyncio.run(look())


def test_to_the_end_draws_no_more_until_it_is_there():
    async def look():
        toy = Toy()
        toy.move(2)
        await toy.until(0.2)
        before, toy.explorer.draw = toy.explorer.draw, lambda frame: shown.append(frame["y"][0])
        shown = []
        toy.training.end.click()
        await toy.until(1)
        await asyncio.sleep(0.02)
        assert shown == [22]
        toy.explorer.draw = before

    asyncio.run(look())


def test_a_training_that_fails_says_so_in_place_and_the_explorer_goes_on():
    async def look():
        toy = Toy(fails_at=7)
        toy.move(2)
        while "not finite" not in words(toy.explorer):
            await asyncio.sleep(0.001)
        assert toy.open == 0
        toy.move(3)
        assert "computed in" in words(toy.explorer)
        assert toy.y == 3
        toy.training.cancel()

    asyncio.run(look())


def test_without_an_event_loop_nothing_begins_by_itself():
    toy = Toy()
    toy.move(3)
    assert toy.steps == []
    toy.training.end.click()
    assert toy.y == 23
    assert toy.explorer.at(x=4).frame["y"][0] == 4
    assert toy.explorer.trained().frame["y"][0] == 24


def test_an_interrupted_training_loses_nothing():
    toy = Toy()
    good = toy.explorer.image.value

    def stopped(frame):
        raise KeyboardInterrupt

    before, toy.explorer.draw = toy.explorer.draw, stopped
    toy.explorer.trained()
    assert "Stopped" in words(toy.explorer)
    assert toy.explorer.image.value == good
    toy.explorer.draw = before
    toy.move(2)
    assert "computed in" in words(toy.explorer)


@pytest.mark.parametrize("reader", [False, True])
def test_a_page_gets_the_trained_frame_and_a_reader_gets_it_live(reader, monkeypatch):
    async def look():
        monkeypatch.setattr("inrlib.live.cells.reader_is_there", lambda: reader)
        toy = Toy()
        toy.explorer._repr_mimebundle_()
        assert toy.y == (1 if reader else 21)
        await toy.until(1)
        assert toy.y == 21

    asyncio.run(look())


def test_a_page_has_every_named_stop_and_each_is_trained(monkeypatch):
    toy = Toy()
    toy.explorer.stops = (0.5, 3)
    seen = []
    finish = toy.training.finish
    monkeypatch.setattr(toy.training, "finish", lambda: (finish(), seen.append(toy.y)))
    frames = toy.explorer.frames(7)
    assert {"0.1", "0.5", "1", "3", "10"} <= set(frames["values"])
    # Its own place is trained once, and last: that is where the page's reader finds it.
    others = [float(value) for value in frames["values"] if value != "1"]
    assert seen == [value + 20 for value in others] + [21]


def test_the_pace_follows_what_a_step_takes():
    pace = Pace(seconds=0.1)
    pace.took(5)  # compiled
    assert pace() == 1
    for _ in range(12):
        pace.took(pace() * 1e-3)
    assert pace() == 100
    pace.took(10)
    assert pace() == 1


def separately(call, value):
    """PSNR on the samples after a training of its own, without any explorer."""
    if "aliasing" in call:
        family = networks.FFN if "FFN" in call else networks.SIREN
        network = (
            networks.FFN((128, 128), mapping_width=256)
            if family is networks.FFN
            else networks.SIREN((128,), mapping_width=128)
        )
        r = signals.grid(128)
        samples, steps, rate, dims = (r, signals.tone(23, r)), 2000, 1e-4, 1
    elif "dashboard" in call:  # a random half of the pixels, width 128, depth 2
        board = sys.modules["inrlib.explorers.dashboard"]
        network = networks.SIREN.sized(128, 2, 3)
        r, g = signals.samples(signals.picture(size=64))
        samples, steps, rate, dims = (r[board._SEEN], g[board._SEEN]), 500, 1e-3, 2
    else:
        network = (
            networks.FFN((128,) * 3, 3, mapping_width=128)
            if "FFN" in call
            else networks.SingleFrequency((128,) * 3, 3)
        )
        samples = signals.samples(signals.picture(size=128)[::2, ::2])
        steps, rate, dims = 500, 1e-3, 2
    theta = networks.init(network, jax.random.key(0), dims, **{network.knob.name: value})
    run = fitting.fit(network, theta, *samples, steps=steps, learning_rate=rate, progress=False)
    return run.psnr[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "values"),
    [
        ('aliasing("SIREN")', (30, 60, 300)),
        ('aliasing("FFN")', (3, 10, 100)),
        ('imperfect_recovery("single frequency")', (0.5, 1, 2)),
        ('imperfect_recovery("FFN")', (0.5, 1.25, 10)),
        ("dashboard()", (6, 30, 100)),
    ],
)
def test_what_the_slider_shows_is_what_a_separate_training_gives(call, values):
    """Within 1 dB; a fit near rounding counts as 90 dB."""
    explorer = opened(call)
    for value in values:
        explorer.at(**{explorer.main: value}).trained()
        text = explorer.frame["state"]
        shown = float(re.search(r"([\d.]+) dB seen", text)[1])
        assert text.startswith("trained")
        assert min(shown, 90) == pytest.approx(min(separately(call, value), 90), abs=1)
