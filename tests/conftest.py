"""What several test files share."""

import gc
import json
import os
import subprocess
import sys
import time
import typing
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pooch

ROOT = Path(__file__).resolve().parent.parent

# Two processes share two cores, and their notebooks and kernels compile the same programs. What is
# compiled is kept for the user, as pip keeps what it has built. These are read when JAX is
# imported. Most of a test's time is the compiler's, for programs that run once, for milliseconds:
# only training loops are optimised (`inrlib.loop`), XLA's older emitters need half the time, and to
# cut a program into parts takes longer than to compile it whole.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(pooch.os_cache("inrlib") / "compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if version("jaxlib").startswith("0.10."):  # later ones have no others
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
    )

import jax  # noqa: E402
import jaxtyping  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from flax.linen import linear  # noqa: E402

# Every annotation of `inrlib` is checked at each call, shapes included; as in PEP 484, an integer
# is a float. One protocol of Flax's own dense layer cannot be asked about without the mark.
typing.runtime_checkable(linear.PromoteDtypeFn)
jaxtyping.install_import_hook(
    "inrlib", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)


@pytest.fixture(scope="module", autouse=True)
def forgotten():
    """Programs of one file are of little use to the next, and thousands of them fill the memory."""
    yield
    jax.clear_caches()


@pytest.fixture
def unchecked(monkeypatch):
    """As a reader runs it: wrong arguments meet the function's own errors, not the type check."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def float64():
    """Double precision, for what is checked to rounding."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def compiled():
    """A list that grows by one for every program that XLA compiles during the test."""
    events = []

    def listen(name, duration, **_):
        if name.endswith("backend_compile_duration"):
            events.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture(scope="session")
def executed(tmp_path_factory):
    """`make notebooks`, once: exit status and closing tables.

    Whichever process asks takes a notebook at a time, until none is left: the one that comes last
    to what needs them helps, and does not wait.
    For work on the site, INRLIB_BOOKS=kept takes what an earlier run left in build/.
    """
    if os.environ.get("INRLIB_BOOKS") == "kept":
        return SimpleNamespace(returncode=0, stdout="")
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of all processes of this run
    told = {}
    for book in sorted((ROOT / "notebooks").glob("*.ipynb"), reverse=True):
        told[book] = shared / f"{book.stem}.json"
        try:
            told[book].with_suffix(".taken").touch(exist_ok=False)
        except FileExistsError:
            continue
        command = [sys.executable, ROOT / "tools" / "notebooks.py", "--at-once", "1", book.stem]
        run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        whole = told[book].with_suffix(".part")
        whole.write_text(json.dumps({"returncode": run.returncode, "stdout": run.stdout}))
        whole.replace(told[book])
    for _ in range(60 * 60):
        if all(map(Path.exists, told.values())):
            break
        time.sleep(1)
    runs = [json.loads(path.read_text()) for path in told.values()]
    return SimpleNamespace(
        returncode=max(run["returncode"] for run in runs),
        stdout="\n".join(run["stdout"] for run in runs),
    )


def pytest_collection_finish():
    """Here thousands of programs live in one process, and to look through all of them for garbage
    takes seconds: it is done seldom, and not whenever an explorer opens."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    if live := sys.modules.get("inrlib.live.explorer"):
        live._settle_memory = lambda: None


@pytest.hookimpl(tryfirst=True)  # before `-m` is looked at
def pytest_collection_modifyitems(items):
    """The notebooks first: they take longest, and the other process has all else to do. The site,
    which is made of them, last. Of a property's cases some, if it is marked so."""
    order = lambda item: ("test_notebooks" not in item.nodeid, "test_site" in item.nodeid)
    items.sort(key=order)
    cases = defaultdict(list)
    for item in items:
        if item.get_closest_marker("few") and not item.get_closest_marker("slow"):
            cases[item.path, item.originalname].append(item)
    for some in cases.values():
        kept = np.linspace(0, len(some) - 1, some[0].get_closest_marker("few").args[0]).round()
        for place in set(range(len(some))) - set(kept.astype(int)):
            some[place].add_marker("slow")
