"""Binder gives one core or two, and 2 GB: for the server, the kernel, and all that they start."""

import os
import subprocess
import sys
import time

import psutil
import pytest
from conftest import ROOT

LIMIT = 2 * 10**9
# Those with the largest kernels, as the table of `make notebooks` found them.
WORST = ["05_3_meta_learning", "07_open_questions", "06_related_work"]

linux = pytest.mark.skipif(sys.platform != "linux", reason="shared memory is told apart by Linux")


def bytes_of(*roots):
    """Memory of these processes and their children; what several share is counted once."""
    total = 0
    for root in roots:
        for process in [root, *root.children(recursive=True)]:
            try:
                total += process.memory_full_info().pss
            except psutil.NoSuchProcess:  # it has just ended
                continue
    return total


def start(*words, **options):
    """On the first core only, with nothing but what a reader's machine sets."""
    ours = ("JAX_", "XLA_", "INRLIB_", "OPENBLAS_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    command = [sys.executable, "-m", *map(str, words)]
    core = {min(os.sched_getaffinity(0))}
    return psutil.Popen(
        command, env=environment, preexec_fn=lambda: os.sched_setaffinity(0, core),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options,
    )  # fmt: skip


def stop(*roots):
    for root in roots:
        for process in [*root.children(recursive=True), root]:
            process.kill()
        root.wait()


@linux
@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.parametrize("book", WORST)
def test_it_runs_where_binder_would_run_it(book, tmp_path):
    """With JupyterLab beside it. What goes beyond the limit is killed, as there."""
    source, target = ROOT / "notebooks" / f"{book}.ipynb", tmp_path / "executed.ipynb"
    root = ["--allow-root"] if os.geteuid() == 0 else []
    lab = start("jupyterlab", "--no-browser", "--port=0", *root, cwd=tmp_path)
    run = start("papermill", source, target, "--cwd", source.parent, cwd=tmp_path)
    most = 0
    try:
        while run.poll() is None and most <= LIMIT:
            most = max(most, bytes_of(lab, run))
            time.sleep(0.2)
        assert lab.poll() is None
    finally:
        stop(*(process for process in (lab, run) if process.is_running()))
    print(f"{book}: {most / 2**20:.0f} MiB with JupyterLab")
    assert most <= LIMIT
    assert run.returncode == 0


@linux
def test_the_limit_is_one(tmp_path):
    """A process that takes more than it is said to have is seen to, and its children too."""
    taker = tmp_path / "taker.py"
    taker.write_text("block = b'1' * 300_000_000\nprint(flush=True)\nimport time; time.sleep(60)\n")
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-m', 'taker'])"
    (tmp_path / "parent.py").write_text(parent)
    process = start("parent", cwd=tmp_path)
    try:
        for _ in range(100):
            if bytes_of(process) > 300_000_000:
                break
            time.sleep(0.1)
        assert 300_000_000 < bytes_of(process) < 400_000_000
    finally:
        stop(process)
    assert not process.is_running()
