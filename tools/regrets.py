"""How many dB each rule for ω0 and σ loses against the best of a sweep: `make regrets`.

The truth is a sweep: every candidate setting is trained on half of the samples, drawn at random,
and judged on the other half. A rule sees the trained half only and names one setting; its regret is
what that setting falls short of the sweep's best. Signals are split by name: `CHOOSE` served to
choose the rule, `REPORT` did not, and only these are in the table.

The pass mark stands in docs/regrets.md, and was committed before any rule ran on `REPORT`. Every
number is kept in build/regrets as soon as it is known, so that an interrupted run goes on.
"""

import argparse
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib import cbook
from tqdm import tqdm

from inrlib import advice, fitting, networks, signals, trials

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "build" / "regrets"
RECORD, REPORTED = ROOT / "docs" / "regrets.json", ROOT / "docs" / "regrets.md"
README, HEADING = ROOT / "README.md", "## What was found"
FAMILIES = {"SIREN": networks.SIREN, "FFN": networks.FFN}
WIDTH, DEPTH, STEPS, RATE, BATCH = 64, 2, 500, 1e-3, 1024
"""Of the networks, and of Adam: the sweep and every check by training."""

PHOTOGRAPHS = tuple(sorted(signals.PICTURES))


class Problem(NamedTuple):
    """One signal: coordinates on [−1, 1)^D or [0, 1), values in [0, 1], and which half is seen."""

    r: Float[Array, "N D"]
    g: Float[Array, "N C"]
    spacing: float
    seen: np.ndarray
    unseen: np.ndarray


def _halves(r, g, spacing: float) -> Problem:
    order = np.random.default_rng(0).permutation(len(r))
    low, high = g.min(), g.max()
    g = jnp.asarray((g - low) / (high - low), jnp.float32)
    half = len(r) // 2
    return Problem(r, g, spacing, np.sort(order[:half]), np.sort(order[half:]))


def _photograph(name: str, size: int) -> Problem:
    return _halves(*signals.samples(signals.picture(name, size)), 2 / size)


def _line(make: Callable, size: int) -> Problem:
    r = signals.grid(size)
    return _halves(r, make(np.asarray(r, np.float64)), 1 / size)


def _tone(frequency: float, size: int) -> Problem:
    return _line(lambda r: np.sin(2 * np.pi * frequency * r), size)


def _band(low: float, high: float, size: int) -> Problem:
    rng = np.random.default_rng(int(high))
    k = np.arange(low, high + 1)
    a, b = rng.normal(size=(2, len(k)))
    waves = lambda r: np.cos(2 * np.pi * r * k) @ a + np.sin(2 * np.pi * r * k) @ b
    return _line(lambda r: waves(r)[:, None], size)


def _trace(name: str, size: int) -> Problem:
    with cbook.get_sample_data(f"{name}.dat") as file:
        kind = np.float64 if name == "eeg" else np.float32
        trace = np.frombuffer(file.read(), kind)
    trace = trace.reshape(-1, 4)[:, 0] if name == "eeg" else trace[:: max(1, len(trace) // size)]
    return _line(lambda r: trace[:size, None].astype(np.float64), size)


def _plane(name: str, size: int) -> Problem:
    if name == "terrain":
        plane = cbook.get_sample_data("jacksboro_fault_dem.npz")["elevation"].astype(np.float64)
    else:
        with cbook.get_sample_data("s1045.ima.gz") as file:
            plane = np.frombuffer(file.read(), np.uint16).reshape(256, 256).astype(np.float64)
    plane = (plane - plane.min()) / np.ptp(plane)
    side = min(plane.shape)
    return _halves(*signals.samples(signals.resize(plane[:side, :side], size)), 2 / size)


def _distance(name: str, size: int) -> Problem:
    r = signals.grid((size,) * 3, -1, 1)
    x, y, z = np.asarray(r, np.float64).T
    d = np.hypot(np.hypot(x, y), z) - 0.6
    if name == "torus":
        d = np.hypot(np.hypot(x, y) - 0.55, z) - 0.22
    return _halves(r, d[:, None], 2 / size)


OTHERS = {
    "tone 5": (partial(_tone, 5), 256),
    "tone 12": (partial(_tone, 12), 256),
    "tone 40": (partial(_tone, 40), 256),
    "tone 70": (partial(_tone, 70), 256),
    "band 0-10": (partial(_band, 0, 10), 256),
    "band 0-20": (partial(_band, 0, 20), 256),
    "band 0-40": (partial(_band, 0, 40), 256),
    "band 20-40": (partial(_band, 20, 40), 256),
    "membrane": (partial(_trace, "membrane"), 512),
    "eeg": (partial(_trace, "eeg"), 512),
    "terrain": (partial(_plane, "terrain"), 64),
    "mri": (partial(_plane, "mri"), 64),
    "sphere": (partial(_distance, "sphere"), 16),
    "torus": (partial(_distance, "torus"), 16),
}
SIZES = (32, 64, 128)
PROBLEMS = {f"{p} {n}": (partial(_photograph, p), n) for n in SIZES for p in PHOTOGRAPHS} | OTHERS

_CHOSEN = (*PHOTOGRAPHS[::3], "tone 5", "tone 40", "band 0-10", "band 0-40", "membrane",
           "terrain", "sphere")  # fmt: skip
CHOOSE = [name for name in PROBLEMS if name.startswith(_CHOSEN)]
REPORT = [name for name in PROBLEMS if name not in CHOOSE]
"""Every third photograph, at all sizes, and half of the others; and what is left."""


def path(kind: str, name: str) -> Path:
    """Where a number is kept."""
    return KEPT / f"{kind}-{name}.json".replace(" ", "_")


def kept(kind: str, name: str, make: Callable[[], dict]) -> dict:
    """What an earlier run has found, or what `make` finds now."""
    place = path(kind, name)
    if not place.exists():
        found = make()
        place.parent.mkdir(parents=True, exist_ok=True)
        half = place.with_suffix(".part")
        half.write_text(json.dumps(found))
        half.replace(place)
    return json.loads(place.read_text())


def sweep(problem: Problem, family: type) -> dict:
    """PSNR of every candidate on both halves, for each seed."""
    r, g, spacing, seen, unseen = problem
    network = family.sized(WIDTH, DEPTH, g.shape[1])
    extent = float(np.ptp(np.asarray(r), axis=0).max()) + spacing
    settings = advice.candidates(family, spacing, extent)
    make = lambda seed, value: networks.init(
        network, jax.random.key(seed), r.shape[1], **{family.knob.name: value}
    )
    batch = BATCH if len(seen) > BATCH else None
    per_seed = []
    for seed in range(4 if r.shape[1] == 1 else 2):
        thetas = jax.vmap(partial(make, seed))(jnp.asarray(settings, jnp.float32))
        thetas = trials.train(network, thetas, r[seen], g[seen], STEPS, RATE, batch)
        f = jax.vmap(lambda theta: network.apply(theta, r))(thetas)
        levels = jax.vmap(fitting.psnr, (0, None))
        per_seed.append([levels(f[:, part], g[part]).tolist() for part in (seen, unseen)])
    at, between = np.transpose(np.array(per_seed), (1, 0, 2)).tolist()
    return {"settings": settings.tolist(), "at": at, "between": between}


def truth(name: str, label: str) -> dict:
    make, size = PROBLEMS[name]
    return kept("truth", f"{name}-{label}", lambda: sweep(make(size), FAMILIES[label]))


# --- The rules -----------------------------------------------------------------------------------

Rule = Callable[[Problem, type, np.ndarray], float | tuple[float, float]]
FORECAST = "kernel's forecast alone"


def usual(problem: Problem, family: type, settings: np.ndarray) -> float:
    """The published defaults: ω0 = 30 (Sitzmann et al. 2020), σ = 10 (Tancik et al. 2020)."""
    return {"SIREN": 30.0, "FFN": 10.0}[family.label]


def nyquist(problem: Problem, family: type, settings: np.ndarray) -> float:
    """The highest mapped frequency is the Nyquist frequency: ω0 max|W⁰| = πN/2, or 2σ = N/4."""
    top = 1 / family.knob.of_nyquist(1, problem.spacing)
    return top * problem.r.shape[1] if family.label == "SIREN" else top / 2


def _whole(problem: Problem) -> np.ndarray:
    """All samples on their grid, the unseen ones too: these two rules need a DFT."""
    r, g = np.asarray(problem.r), np.asarray(problem.g, np.float64)
    side = round(len(r) ** (1 / r.shape[1]))
    return g.reshape(*(side,) * r.shape[1], -1)


def _profile(values: np.ndarray) -> np.ndarray:
    """FreSh's spectrum: amplitudes summed over |k1| + … + |kD| = k, without k = 0, of sum 1."""
    dims = values.ndim - 1
    size = len(values)
    amplitude = np.abs(np.fft.fftn(values, axes=range(dims))).mean(-1)
    k = np.abs(np.fft.fftfreq(size, 1 / size)).astype(int)
    order = sum(np.meshgrid(*(k,) * dims, indexing="ij"))
    lines = np.bincount(order.ravel(), amplitude.ravel())[1 : 1 + min(64, size // 2)]
    return lines / lines.sum()


def fresh(problem: Problem, family: type, settings: np.ndarray) -> float:
    """FreSh (ICLR 2025): the initial output whose spectrum is nearest to the signal's.

    Wasserstein-1 distance of the profiles, mean over ten draws.
    """
    r, g = problem.r, problem.g
    network = family.sized(WIDTH, DEPTH, g.shape[1])
    target = np.cumsum(_profile(_whole(problem)))
    apply = jax.jit(network.apply)

    def distance(value: float) -> float:
        outputs = [
            apply(networks.init(network, key, r.shape[1], **{family.knob.name: value}), r)
            for key in jax.random.split(jax.random.key(7), 10)
        ]
        profiles = [_profile(_whole(problem._replace(g=f))) for f in outputs]
        return float(np.mean([np.abs(np.cumsum(one) - target).sum() for one in profiles]))

    return float(settings[np.argmin([distance(value) for value in settings])])


def centroid(problem: Problem, family: type, settings: np.ndarray) -> float:
    """WINNER's centroid (2025), as a rule: the mapping's mean frequency is the signal's.

    ψ = the mean centroid of |rfft| along the last axis, with the mean kept, in cycles per unit; a
    SIREN maps to ω0/(4πD) on average, an FFN to σ √(2/π).
    """
    rows = np.abs(np.fft.rfft(_whole(problem), axis=-2))
    k = np.arange(rows.shape[-2])[:, None] / (2 * (rows.shape[-2] - 1) * problem.spacing)
    psi = float(np.mean((k * rows).sum(-2) / rows.sum(-2)))
    dims = problem.r.shape[1]
    return 4 * np.pi * dims * psi if family.label == "SIREN" else psi * (np.pi / 2) ** 0.5


def adviser(problem: Problem, family: type, settings: np.ndarray) -> tuple[float, float]:
    """`inrlib.advice`: the kernel's forecast, then a check by training; and the forecast alone."""
    network = family.sized(WIDTH, DEPTH, problem.g.shape[1])
    r, g = problem.r[problem.seen], problem.g[problem.seen]
    found = advice.advise(r, g, [network], spacing=problem.spacing, steps=STEPS, learning_rate=RATE)
    return found.setting, max(found.tries, key=lambda one: one.forecast).setting


def halving(problem: Problem, family: type, settings: np.ndarray) -> float:
    """Successive halving without the kernel: all for 60 steps, half for 120, a quarter for 240 …"""
    network = family.sized(WIDTH, DEPTH, problem.g.shape[1])
    r, g = problem.r[problem.seen], problem.g[problem.seen]
    trial = trials.Trial(network, r, g, "between", RATE)
    steps = 60
    while len(settings) > 1:
        order = np.argsort(-trial(settings, 0, min(steps, STEPS)))
        settings, steps = settings[order[: max(1, len(settings) // 2)]], 2 * steps
    return float(settings[0])


RULES: dict[str, Rule] = {
    "adviser": adviser,
    "successive halving": halving,
    "FreSh": fresh,
    "centroid (WINNER)": centroid,
    "Nyquist": nyquist,
    "usual default": usual,
}


def choice(rule: str, name: str, label: str) -> dict:
    """What a rule names for a signal, and the seconds it took."""

    def make() -> dict:
        problem = PROBLEMS[name][0](PROBLEMS[name][1])
        settings = np.asarray(truth(name, label)["settings"])
        start = perf_counter()
        setting, *aside = np.atleast_1d(RULES[rule](problem, FAMILIES[label], settings)).tolist()
        return {"setting": setting, "aside": aside, "seconds": perf_counter() - start}

    if rule == FORECAST:
        return {"setting": choice("adviser", name, label)["aside"][0]}
    return kept(f"rule-{rule.split()[0].lower()}", f"{name}-{label}", make)


def finished(name: str) -> bool:
    """Whether all that the table needs of a signal is kept."""
    kinds = ["truth", *(f"rule-{rule.split()[0].lower()}" for rule in RULES if name in REPORT)]
    return all(path(kind, f"{name}-{label}").exists() for kind in kinds for label in FAMILIES)


# --- The table -----------------------------------------------------------------------------------


def regret(setting: float, name: str, label: str) -> float:
    """dB between the samples that the candidate nearest to a setting falls short of the best."""
    found = truth(name, label)
    levels = np.mean(found["between"], axis=0)
    nearest = np.argmin(np.abs(np.log(np.asarray(found["settings"]) / setting)))
    return float(levels.max() - levels[nearest])


def fixed(names: list[str], label: str) -> float:
    """The single value that loses least over these signals."""
    values = np.geomspace(0.1, 1000, 200)
    return float(min(values, key=lambda v: np.mean([regret(v, n, label) for n in names])))


def table(report: list[str], choose: list[str]) -> dict[str, dict[str, list[float]]]:
    """Rule → family → the regret of every signal, in the order of `report`."""
    rows = {
        rule: {
            label: [regret(choice(rule, n, label)["setting"], n, label) for n in report]
            for label in FAMILIES
        }
        for rule in (*RULES, FORECAST)
    }
    for title, names in (
        ("one value, from other signals", choose),
        ("one value, in hindsight", report),
    ):
        value = {label: fixed(names, label) for label in FAMILIES}
        rows[title] = {
            label: [regret(value[label], n, label) for n in report] for label in FAMILIES
        }
    return rows


def seconds(rule: str, report: list[str]) -> float:
    """Median for one family and one signal."""
    times = [choice(rule, n, label)["seconds"] for n in report for label in FAMILIES]
    return float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="signals whose name has this in it", default="")
    parser.add_argument("--done", action="store_true", help="the table of what there is so far")
    options = parser.parse_args()
    late = lambda name: (name.endswith("128"), name.endswith("64"), name in CHOOSE)
    wanted = [name for name in sorted(PROBLEMS, key=late) if options.only in name]
    for name in tqdm([] if options.done else wanted, unit="signal"):
        for label in FAMILIES:
            truth(name, label)
            if name in REPORT:
                for rule in RULES:
                    choice(rule, name, label)
    report, choose = (
        [name for name in part if name in wanted and (not options.done or finished(name))]
        for part in (REPORT, CHOOSE)
    )
    record = {
        "signals": report,
        "regret": table(report, choose or report),
        "seconds": {rule: seconds(rule, report) for rule in RULES},
        "networks": f"width {WIDTH}, {DEPTH} hidden layers, {STEPS} steps of Adam {RATE:g}",
    }
    lines = summary(record)
    if not options.only:
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        head = REPORTED.read_text(encoding="utf-8").partition(HEADING)[0].rstrip()
        text = "\n".join([head, "", HEADING, "", *lines]) + "\n"
        REPORTED.write_text(text, encoding="utf-8")
        page = README.read_text(encoding="utf-8")
        between = re.compile(r"(?<=<!-- regrets -->\n).*?(?=<!-- /regrets -->)", re.DOTALL)
        README.write_text(between.sub(lambda _: sentence(record) + "\n", page), encoding="utf-8")
    print("\n".join(lines))


def sentence(record: dict) -> str:
    """What the README says of it."""
    mean = lambda rule: np.mean(np.concatenate(list(record["regret"][rule].values())))
    rivals = {"FreSh": "FreSh", "the usual ω0 = 30 and σ = 10": "usual default",
              "the best single value, found in hindsight": "one value, in hindsight"}  # fmt: skip
    others = ", ".join(f"{name} {mean(rule):.1f} dB" for name, rule in rivals.items())
    return (
        f"On {len(record['signals'])} signals that it was not tuned on, the adviser's choice is "
        f"{mean('adviser'):.2f} dB short of the best of a sweep on average; {others}. "
        "[All rules, and where it fails](docs/regrets.md)."
    )


def summary(record: dict) -> list[str]:
    """The table in Markdown: a row for each rule, and whether the mark was met."""
    rows = [
        "| rule | mean regret (dB) | worst | SIREN | FFN | seconds a family |",
        "| --- " * 6 + "|",
    ]
    mean = {}
    for rule, by_family in record["regret"].items():
        every = np.concatenate(list(by_family.values()))
        mean[rule] = float(every.mean())
        parts = " | ".join(f"{np.mean(by_family[label]):.2f}" for label in FAMILIES)
        took = record["seconds"].get(rule)
        clock = "" if took is None else f"{took:.1f}"
        rows.append(f"| {rule} | {mean[rule]:.2f} | {every.max():.1f} | {parts} | {clock} |")
    ours = mean["adviser"]
    met = {
        "at most 0.5 dB": ours <= 0.5,
        "at most a quarter of FreSh's": ours <= mean["FreSh"] / 4,
        "at most a quarter of the usual default's": ours <= mean["usual default"] / 4,
        "less than one value found in hindsight": ours < mean["one value, in hindsight"],
    }
    verdicts = [f"- {what}: {'met' if was else 'not met'}" for what, was in met.items()]
    count = (
        f"{len(record['signals'])} of {len(REPORT)} signals that served to choose nothing, both "
        f"families of each; {record['networks']}."
    )
    return [count, "", *rows, "", "The mark:", "", *verdicts]


if __name__ == "__main__":
    main()
