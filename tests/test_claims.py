import json
from dataclasses import replace

import numpy as np
import pytest

from inrlib import claims
from inrlib.claims import MIME, Claims, above, below, read


def example():
    record = Claims(section="4.2", scale="demo")
    mark = below(1, "set beforehand")
    record.add("a", "identity", "x < 1", measure="x & y", measured=0.5, mark=mark)
    record.add(
        "b",
        "reproduction",
        "y is small",
        measure="y (dB)",
        measured=np.array([3.0, -2.0]),
        mark=mark,
        control={"nothing learned": 7},
        reason="too small a picture",
    )
    return record


HIGH = above(0.8, "set")


def verdict(measured, control, mark=HIGH, **more):
    record = Claims(section="5", scale="demo")
    given = {"measure": "m", "measured": measured, "mark": mark, "control": control}
    record.add("key", "own finding", "text", **given, **more)
    return record.rows[0]


@pytest.mark.parametrize(
    ("measured", "control", "expected"),
    [
        (0.9, {"null": 0.5}, "holds"),
        ([0.9, 0.85], {"null": [0.9, 0.5]}, "holds"),
        ([0.9, 0.7], {"null": 0.5}, "does not hold"),
        (0.99, {"null": 0.94}, "does not hold"),
        (0.99, {"null": 0.1, "rival": 0.94}, "does not hold"),
        ({"bias": 0.9, "no bias": 0.9}, {"null": 0.5}, "holds"),
        ({"bias": 0.9, "no bias": 0.3}, {"null": 0.5}, "mixed"),
        ({"bias": [0.9, 0.3], "no bias": 0.3}, {"null": 0.5}, "does not hold"),
        (float("nan"), {"null": 0.5}, "does not hold"),
    ],
)
def test_the_verdict_is_computed(measured, control, expected):
    assert verdict(measured, control).verdict == expected
    assert verdict(measured, control, comparable=False).verdict == "not comparable"


def test_a_null_in_the_place_of_the_measurement_does_not_hold():
    """Energy above a tenth of λ0: an identity kernel has all of it."""
    claim = verdict(0.98, {"identity kernel": 1.0, "random network": 0.79}, above(0.9, "set"))
    assert claim.passing_controls == ["identity kernel"]
    assert claim.verdict == "does not hold"
    assert "identity kernel" in claim.why
    assert replace(claim, measured={"": [1.0]}).verdict == "does not hold"


def test_the_side_of_a_mark():
    assert verdict(-20, {"null": -3}, below(-10, "set")).verdict == "holds"
    assert verdict(-20, {"null": -30}, above(-25, "set")).verdict == "holds"
    assert str(below(1e-20, "rounding")) == "< 1e-20"


def test_n_counts_repetitions_of_the_choice_that_has_fewest():
    assert verdict({"a": [1, 2, 3], "b": [1, 2]}, {"null": 0}).n == 2


def test_claims_show_and_carry_the_same_record():
    bundle = example()._repr_mimebundle_()
    assert "✓ holds: x < 1" in bundle["text/plain"]
    assert "✗ does not hold: y is small" in bundle["text/plain"]
    assert "x &amp; y: 0.5 (n = 1)" in bundle["text/html"]
    assert "x &lt; 1" in bundle["text/html"]
    assert "y (dB): −2 to 3 (n = 2)" in bundle["text/html"]
    assert "nothing learned: 7" in bundle["text/html"]
    assert "too small a picture" in bundle["text/html"]
    rows = json.loads(json.dumps(bundle[MIME]))
    assert [row["verdict"] for row in rows] == ["holds", "does not hold"]


def test_what_the_paper_does_not_say_stands_under_another_head():
    page = example()._repr_mimebundle_()["text/html"]
    checks, paper = page.index(claims.KINDS["identity"]), page.index("The paper says")
    assert checks < page.index("x &lt; 1") < paper < page.index("y is small")
    assert claims.KINDS["own finding"] not in page


def test_read_finds_them_in_an_executed_notebook(tmp_path):
    shown = example()
    levels = {"at 9": 1, "at 13": 2, "at 25": 3}
    shown.add("c", "identity", "z", measure="z", measured=levels, mark=above(0, "set"))
    bundle = json.loads(json.dumps(shown._repr_mimebundle_(), sort_keys=True))  # as nbformat does
    bundle[MIME][1]["verdict"] = "holds"  # a record that lies
    output = {"output_type": "execute_result", "data": bundle}
    cells = [{"cell_type": "markdown"}, {"cell_type": "code", "outputs": [output]}]
    path = tmp_path / "book.ipynb"
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert read(path) == shown.rows
    assert list(read(path)[2].measured) == list(levels)
    assert read(path)[1].verdict == "does not hold"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "a"}, "key='a' was recorded before"),
        ({"kind": "reading"}, "choose one of identity, reproduction, published, own finding"),
        ({"measured": []}, "has no number"),
        ({"measured": {}}, "has no number"),
        ({"control": {}}, "needs a control"),
        ({"control": {"null": []}}, "needs a control"),
    ],
)
def test_what_cannot_be_judged_is_refused(change, message):
    given = {"key": "c", "kind": "reproduction", "statement": "z", "measure": "z", "measured": 1}
    given |= {"mark": above(0, "set"), "control": {"null": -1}} | change
    with pytest.raises(ValueError, match=message):
        example().add(**given)


def test_sizes_of_a_scale():
    assert claims.sizes("demo", demo=3, paper=300) == 3
    assert claims.sizes("paper", demo=3, paper=300) == 300
    with pytest.raises(ValueError, match="scale='Demo': choose 'demo' or 'paper'"):
        claims.sizes("Demo", demo=3, paper=300)


@pytest.mark.parametrize("text", ["", "{}", "not json"])
def test_read_refuses(tmp_path, text):
    (tmp_path / "book.ipynb").write_text(text)
    with pytest.raises(ValueError, match="no Jupyter notebook"):
        read(tmp_path / "book.ipynb")


@pytest.mark.parametrize(
    "row", [{"key": "a", "holds": True}, {"key": "a", "measured": "61 dB", "control": {}}, {}]
)
def test_read_refuses_a_record_of_another_version(row, tmp_path):
    output = {"output_type": "execute_result", "data": {MIME: [row]}}
    path = tmp_path / "book.ipynb"
    path.write_text(json.dumps({"cells": [{"cell_type": "code", "outputs": [output]}]}))
    with pytest.raises(ValueError, match="another version; execute it again"):
        read(path)


def test_read_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.ipynb")
