"""Data in, artists out."""

import numpy as np

from inrlib import plots


def test_comb_draws_lines_above_the_floor_and_moves_them():
    _, ((ax,),) = plots.figure()
    update = plots.comb(ax, np.array([1.0, 2, 3]), np.array([-10.0, -200, -30]), "black")
    (artist,) = ax.collections
    assert [segment[1].tolist() for segment in artist.get_segments()] == [[1, -10], [3, -30]]
    update((np.array([5.0, 6]), np.array([-40.0, -50])))
    assert [segment.tolist() for segment in artist.get_segments()] == [
        [[5, -100], [5, -40]],
        [[6, -100], [6, -50]],
    ]


def test_comb_with_heads_draws_points():
    _, ((ax,),) = plots.figure()
    update = plots.comb(ax, np.arange(3), np.array([-10.0, -200, -30]), "black", head="o")
    (artist,) = ax.lines
    assert artist.get_xdata().tolist() == [0, 2]
    update((np.array([7.0]), np.array([-1.0])))
    assert artist.get_ydata().tolist() == [-1]


def test_orders_leaves_white_what_is_not_reached_and_follows_the_largest():
    _, ((ax,),) = plots.figure()
    order = np.full((5, 5), -1)
    order[2, 2] = 0
    order[2, 3] = 4
    update = plots.orders(ax, order)
    image = ax.images[0]
    assert image.get_array().mask.sum() == 23
    assert image.get_clim() == (0, 4)
    order[1, 1] = 9
    update(order)
    assert image.get_clim() == (0, 9)


def test_splitting_has_a_row_per_layer_and_shades_what_is_allowed():
    signal, level = np.zeros(32), np.full(17, -20.0)
    fig = plots.splitting(signal, {f"layer {n}": (signal, level, 3**n) for n in range(3)})
    assert len(fig.axes) == 6
    shaded = [ax.patches[0].get_extents().width for ax in fig.axes[1::2]]
    assert shaded == sorted(shaded)
    assert fig._repr_png_()[:4] == b"\x89PNG"


def test_a_title_takes_numbers_of_every_kind():
    _, ((ax,),) = plots.figure()
    update = plots.title(ax, "{:.1f} dB", np.float32(3.14159))
    assert ax.get_title() == "3.1 dB"
    update(2)
    assert ax.get_title() == "2.0 dB"
    update = plots.title(ax, "{} after {} steps", ("untrained", 0), loc="right")
    assert ax.get_title(loc="right") == "untrained after 0 steps"
