import json

import pytest

from inrlib.claims import MIME, Claim, Claims, read


def example():
    claims = Claims(section="4.2", scale="demo")
    claims.add("a", "x < 1", "x = 0.5 & more", holds=True)
    claims.add("b", "y = 2", "y = 3", holds=False, reason="too small a picture")
    return claims


def test_claims_show_and_carry_the_same_record():
    bundle = example()._repr_mimebundle_()
    assert "✓ holds: x < 1" in bundle["text/plain"]
    assert "x = 0.5 &amp; more" in bundle["text/html"]
    assert "x &lt; 1" in bundle["text/html"]
    assert "too small a picture" in bundle["text/html"]
    assert [row["holds"] for row in json.loads(json.dumps(bundle[MIME]))] == [True, False]


def test_read_finds_them_in_an_executed_notebook(tmp_path):
    output = {"output_type": "execute_result", "data": example()._repr_mimebundle_()}
    cells = [{"cell_type": "markdown"}, {"cell_type": "code", "outputs": [output]}]
    path = tmp_path / "book.ipynb"
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert read(path)[1] == Claim(
        "b", "4.2", "y = 2", "y = 3", False, "demo", "too small a picture"
    )


def test_a_key_is_used_once():
    claims = example()
    with pytest.raises(ValueError, match="key='a' was recorded before"):
        claims.add("a", "again", "again", holds=True)


@pytest.mark.parametrize("text", ["", "{}", "not json"])
def test_read_refuses(tmp_path, text):
    (tmp_path / "book.ipynb").write_text(text)
    with pytest.raises(ValueError, match="no Jupyter notebook"):
        read(tmp_path / "book.ipynb")


def test_read_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.ipynb")
