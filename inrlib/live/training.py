"""Real training while the reader looks: in the kernel's own event loop, a stretch at a time.

A stretch lasts about a tenth of a second. Between two of them the kernel answers messages, so that
the next move of a slider ends the training within a stretch, and other cells' widgets go on
working. Nothing runs in a thread, nothing queues up: a training that is dropped is over.

>>> pace = Pace(seconds=0.1)
>>> pace.took(0.05)
>>> pace()
2
"""

import asyncio
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import ipywidgets as widgets

__all__ = ["Pace", "Stages", "Training"]

Stages = Iterator[tuple[float, Callable[[], Any]]]
"""The finished share after each stretch, and what makes the parts of a frame that have changed."""

REST = 0.15
"""Seconds that a slider must rest before training starts."""

ANSWER = 0.004
"""Seconds after each stretch in which the kernel answers messages: one takes several turns."""

DRAWING = 4
"""Seconds of training for each second of drawing."""


class Pace:
    """How many steps a stretch takes so that it lasts so long: asked before it, told after it."""

    def __init__(self, seconds: float = 0.09):
        self.seconds, self.steps = seconds, 1

    def __call__(self) -> int:
        return self.steps

    def took(self, seconds: float) -> None:
        """At most twice as many steps next time: the first stretch may have been compiled."""
        fits = round(self.steps * self.seconds / max(seconds, 1e-6))
        self.steps = max(1, min(fits, 2 * self.steps))


class Training:
    """What is trained for the present place of the sliders, and its buttons.

    Args:
      begin: () → the stages for the controls' present values; its stretches ask `pace`.
      show: takes the parts that have changed, and draws them.
      fail: takes an error.

    Attributes:
      pace: of the stretches.
      share: how much is finished, in [0, 1].
      buttons: pause or resume, to the end, and a progress bar.
    """

    def __init__(
        self,
        begin: Callable[[], Stages],
        show: Callable[[Any], None],
        fail: Callable[[Exception], None],
    ):
        self.begin, self.show, self.fail, self.pace = begin, show, fail, Pace()
        self.share, self._task, self._hurry = 0.0, None, False
        self._going = asyncio.Event()
        self._going.set()
        self.pause = widgets.ToggleButton(description="Pause", icon="pause")
        self.end = widgets.Button(description="To the end", icon="fast-forward")
        self.bar = widgets.FloatProgress(max=1.0, layout=widgets.Layout(width="9em"))
        self.buttons = [self.pause, self.end, self.bar]
        self.pause.observe(lambda change: self._toggled(change["new"]), names="value")
        self.end.on_click(lambda _: self._to_the_end())

    def warm_up(self) -> None:
        """Compiles what a stretch and its frame need, so that nothing compiles under a slider."""
        stages = self.begin()
        for _, (_, make) in zip(range(2), stages, strict=False):
            make()
        stages.close()

    def start(self) -> None:
        """Begins anew once the slider rests; without an event loop nothing begins."""
        self.cancel()
        self.pause.value = False
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._task = loop.create_task(self._run(REST))

    def cancel(self) -> None:
        """Ends what runs, within a stretch."""
        if self._task is not None:
            self._task.cancel()
        self._task, self._hurry, self.share, self.bar.value = None, False, 0.0, 0.0

    def finish(self) -> None:
        """Trains to the end here and now, without answering anything meanwhile."""
        self.cancel()
        for share, make in self._stretches(self.begin()):
            self.share, last = share, make
            self.bar.value = share
        self.show(last())

    def _to_the_end(self) -> None:
        if self._task is None:
            if self.share < 1:
                self.finish()
        else:
            self.pause.value, self._hurry = False, True

    def _toggled(self, paused: bool) -> None:
        if paused:
            self._going.clear()
        else:
            self._going.set()
        self.pause.description = "Resume" if paused else "Pause"
        self.pause.icon = "play" if paused else "pause"

    def _stretches(self, stages: Stages) -> Stages:
        """The stages, timed: the pace follows what a step takes."""
        start = perf_counter()
        for stage in stages:
            self.pace.took(perf_counter() - start)
            yield stage
            start = perf_counter()

    async def _run(self, rest: float) -> None:
        await asyncio.sleep(rest)
        drawn = cost = 0.0
        stages = self.begin()
        try:
            for share, make in self._stretches(stages):
                self.share = self.bar.value = share
                now = perf_counter()
                if share == 1 or (now - drawn > DRAWING * cost and not self._hurry):
                    self.show(make())
                    drawn = perf_counter()
                    cost = drawn - now
                await asyncio.sleep(ANSWER)
                await self._going.wait()
        except Exception as error:
            self.fail(error)
        finally:
            stages.close()
        self._task = None
