"""How Sphinx builds the site; `tools/website.py` prepares what it reads."""

import re
import tomllib
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.util.math import get_node_equation_number

ROOT = Path(__file__).resolve().parents[2]  # this file is read as build/pages/conf.py

project = "Implicit neural representations, to be moved by hand"
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.bibtex"]
nb_code_prompt_show = "Show the {type}"
nb_code_prompt_hide = "Hide the {type}"
nb_execution_mode = "off"
myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 4
myst_update_mathjax = False
bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"

autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_display_short_literal_types = True
napoleon_attr_annotations = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = "Implicit neural representations"
html_favicon = "static/icon.svg"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}


def inline(writer, node):
    """An equation in a line, as MathML: nothing has to run in the browser."""
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def block(writer, node):
    """An equation of its own, with its number if it has a label."""
    writer.body.append(writer.starttag(node, "div", CLASS="math"))
    if node["number"]:
        number = get_node_equation_number(writer, node)
        writer.body.append(f'<span class="eqno">({number})</span>')
    writer.body.append(convert(node.astext(), display="block") + "</div>\n")
    raise nodes.SkipNode


def plain(app, what, name, thing, options, lines):
    """Docstrings are plain text with `code`: equations stay as they are set, markup is none.

    What stands four spaces in after an empty line is an equation or a table; sections of arguments
    stand two spaces in.
    """
    out, literal, doctest = [], None, False
    for line in lines:
        depth = len(line) - len(line.lstrip())
        doctest = line.lstrip().startswith(">>>") or (doctest and bool(line.strip()))
        if literal is not None and line.strip() and depth < literal:
            literal = None
        if (
            literal is None
            and line.strip()
            and depth >= 4
            and not doctest
            and not (out and out[-1])
        ):
            literal = depth
            out += [" " * (depth - 4) + "::", ""]
        if literal is None and not doctest:
            parts = line.split("`")
            parts[::2] = [re.sub(r"([*|\\]|_(?=\W|$))", r"\\\1", part) for part in parts[::2]]
            line = "``".join(parts)
        out.append(line)
    lines[:] = out


def signature(app, what, name, thing, options, arguments, returned):
    """Without what Flax adds to every module."""
    return arguments and re.sub(r", parent: .*\)$", ")", arguments), returned


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("autodoc-process-docstring", plain, priority=100)  # before napoleon
    app.connect("autodoc-process-signature", signature)
    return {"parallel_read_safe": True}
