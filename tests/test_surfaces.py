"""Surfaces as pictures: silhouettes and depth, against geometry."""

import numpy as np
import pytest

from inrlib import surfaces

SIZE, COLOUR = 200, (0.9, 0.1, 0.1)
PLACES = np.stack(np.meshgrid(*[np.linspace(-1, 1, 33)] * 3, indexing="ij"), axis=-1)


def ball(centre, radius):
    return radius - np.linalg.norm(PLACES - np.array(centre), axis=-1)


def red(picture):
    """Pixels of the surface; the cube's edges are grey."""
    return picture[..., 0] > picture[..., 1] + 0.1


@pytest.mark.parametrize("turn", [0, 30, 111, 360])
def test_a_ball_is_a_disk_from_all_sides_without_holes(turn):
    seen = red(surfaces.picture(ball((0, 0, 0), 0.6), [(0.0, COLOUR)], turn, SIZE))
    row, column = np.nonzero(seen)
    radius = 0.6 * SIZE / surfaces._WIDE
    assert seen.sum() == pytest.approx(np.pi * radius**2, rel=0.05)
    assert np.hypot(row - SIZE / 2, column - SIZE / 2).max() < radius + 2
    edges = (~red(surfaces.picture(ball((0, 0, 0), 0.6), [], turn, SIZE))).all()
    assert edges
    y, x = np.indices((SIZE, SIZE)) - SIZE / 2
    middle = np.hypot(x, y) < radius - 3
    grey = np.ptp(surfaces.picture(ball((0, 0, 0), 0.6), [], turn, SIZE), axis=2) == 0
    assert seen[middle].mean() > 0.9  # edges of the cube lie in front of the rest
    assert grey.all()


def test_the_nearer_ball_hides_the_other():
    """The camera looks along the second axis, from its negative side."""
    near = np.maximum(ball((0, -0.6, 0), 0.3), -1)
    far = ball((0, 0.6, 0), 0.3)
    both = np.where(near > far, near, far + 0)
    first = surfaces.picture(both, [(0.0, COLOUR)], 0, SIZE)
    assert red(first).any()
    middle = lambda picture: np.nonzero(red(picture))[0].mean()
    # Seen from above, what is far away stands higher in the picture.
    high = middle(surfaces.picture(far, [(0.0, COLOUR)], 0, SIZE))
    low = middle(surfaces.picture(near, [(0.0, COLOUR)], 0, SIZE))
    assert high < low - 10


def test_a_turn_takes_left_to_right_and_a_whole_one_nothing():
    values = ball((0.6, 0, 0), 0.3)
    centre = lambda turn: np.nonzero(red(surfaces.picture(values, [(0.0, COLOUR)], turn, SIZE)))[
        1
    ].mean()
    assert centre(0) > SIZE / 2 + 10
    assert centre(180) < SIZE / 2 - 10
    same = [surfaces.picture(values, [(0.0, COLOUR)], turn, SIZE) for turn in (0, 360)]
    assert np.abs(same[0] - same[1]).mean() < 1e-3


def test_a_level_that_is_not_reached_is_left_out():
    values = ball((0, 0, 0), 0.6)
    empty = surfaces.picture(values, [(9.0, COLOUR), (-9.0, COLOUR)], size=SIZE)
    assert not red(empty).any()
    assert (empty < 0.9).any()  # the cube is there
