"""`tools/website.py` and the workflow: what they make of small texts."""

import nbformat
import pytest
import website

from inrlib import claims

INDEX = website.index_of("| Figure 3 | a | b | c |\n| Eqs. 42–47 | a | b | c |\n| Lemma 1 | a |\n")


def test_a_range_of_numbers_has_one_row():
    assert INDEX["figure-3"] == "figure-3"
    assert {INDEX[f"eq-{n}"] for n in range(42, 48)} == {"eq-42"}
    assert "eq-48" not in INDEX


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("see Figure 3.", "see [Figure 3](#figure-3)."),
        ("as in Eq. 43", "as in [Eq. 43](#eq-42)"),
        ("Eqs. 42–47 say", "Eqs. [42](#eq-42)–[47](#eq-42) say"),
        ("Figures 3 and 99", "Figures [3](#figure-3) and 99"),
        ("Lemmas 1 and 2", "Lemmas [1](#lemma-1) and 2"),
        ("Figure 99", "Figure 99"),
        ("# Figure 3", "# Figure 3"),
        ("`Figure 3` and $Figure 3$", "`Figure 3` and $Figure 3$"),
        ("[Figure 3](there.md)", "[Figure 3](there.md)"),
        ("$$\nEq. 43\n$$", "$$\nEq. 43\n$$"),
    ],
)
def test_numbers_become_links_in_plain_text_only(text, links):
    assert website.linked(text, INDEX) == links


@pytest.mark.parametrize(
    ("source", "anchor"),
    [
        ('from inrlib import explorers\n\nexplorers.aliasing("FFN")', "slider-04_2-aliasing-ffn"),
        ('explorers.related("one two")', "slider-04_2-related-one-two"),
        ("explorers.depth(dims=2)", "slider-04_2-depth-dims-2"),
        ("explorers.bessel(seed=seed)", "slider-04_2-bessel"),
        ("wall = explorers.related(seed)", ""),
    ],
)
def test_an_explorer_has_an_anchor(source, anchor):
    assert website.slider("04_2_aliasing", source) == anchor


def test_a_claim_is_found_in_the_cell_that_recorded_it():
    code = nbformat.v4.new_code_cell
    cells = [
        code('found = {"fig2": 1}\n"fig3-half"'),
        code('record.add(\n    f"{key}-grid",'),
        code('record.add("fig3-half", kind)'),
        nbformat.v4.new_markdown_cell('"nowhere"'),
        code("record"),
    ]
    places = website.where(cells, ["fig2-grid", "fig3-half", "nowhere"])
    assert places == {"fig2-grid": 1, "fig3-half": 2, "nowhere": 4}


def claim(measured, control):
    record = claims.Claims(section="1", scale="demo")
    mark = claims.above(0, "set beforehand")
    given = {"measure": "gain |x| (dB)", "measured": measured, "mark": mark, "control": control}
    record.add("key", "reproduction", "It gains.", **given)
    return {"key": record.rows[0]}


def test_numbers_are_filled_in_from_the_record():
    rows = claim({"a": [1, 2], "b": 3}, {"null": -1})
    fill = lambda text: website.filled(text, rows)
    assert fill("{measured}`key; a` dB") == "[1 to 2](#claim-key) dB"
    assert fill("{measured}`key; null`") == "[−1](#claim-key)"
    assert fill("{claim}`key`") == "[✓ gain \\|x\\| (dB): a: 1 to 2; b: 3 (n = 1)](#claim-key)"
    assert website.filled("{measured}`key`", claim(4, {"null": -1})) == "[4](#claim-key)"


@pytest.mark.parametrize("wrong", ["other", "key", "key; c"])
def test_a_number_that_was_not_recorded_is_an_error_that_names_it(wrong):
    with pytest.raises(LookupError, match=wrong.split("; ")[-1]):
        website.filled(f"{{measured}}`{wrong}`", claim({"a": [1], "b": [2]}, {"null": -1}))


@pytest.mark.parametrize(
    ("data", "left"),
    [
        ({"text/html": '<img alt="">', "image/png": "x", "text/plain": "x"}, ["text/html"]),
        ({"text/html": "<p>", "image/png": "x", "text/plain": "x"}, ["image/png"]),
        ({"text/html": "<table>", "text/plain": "x"}, ["text/html"]),
        ({"text/plain": "x"}, ["text/plain"]),
    ],
)
def test_a_page_shows_pictures_with_words_before_others_before_tables(data, left):
    output = nbformat.v4.new_output("display_data", data=data)
    website.shown(output)
    assert list(output["data"]) == left


@pytest.mark.parametrize(
    ("put_in", "kept"),
    [('scale = "demo"', ['scale = "demo"\nseed = 0']), ('scale = "paper"', None)],
)
def test_parameters_are_shown_once_unless_they_differ(put_in, kept, tmp_path):
    code = nbformat.v4.new_code_cell
    own = code('scale = "demo"\nseed = 0', metadata={"tags": ["parameters"]})
    given = code(f"# Parameters\n{put_in}\n", metadata={"tags": ["injected-parameters"]})
    title = nbformat.v4.new_markdown_cell("# One\n\nFigure 3")
    answer = code("assert True", metadata={"tags": ["answer", "hide-cell"]})
    second = nbformat.v4.new_markdown_cell("# Two")
    book = nbformat.v4.new_notebook(cells=[title, own, given, second, answer, code("record.add()")])
    nbformat.write(book, tmp_path / "01_one.ipynb")
    made = website.notebook(tmp_path / "01_one.ipynb", INDEX).cells
    assert [cell.source for cell in made if cell.cell_type == "markdown"] == [
        "# One\n\n[Figure 3](#figure-3)",
        "## Two",
    ]
    *parameters, answer, record = [cell for cell in made if cell.cell_type == "code"]
    assert [cell.source for cell in parameters] == (kept or [own.source, given.source])
    assert answer.metadata.mystnb.code_prompt_show == "Show the answer"
    assert "hide-input" not in answer.metadata.tags
    assert "hide-input" in record.metadata.tags
