"""The page of probes and their nearest is laid out by hand: nothing on it may leave the page or cover anything else."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from stages.evaluate.retrieval import NEAREST, Example, retrieval_figure


@pytest.mark.parametrize("count", [0, 1, 2, 6])
def test_everything_has_its_place(count: int) -> None:
    names = ("10-30-15-masked", "10-30-15", "wide-awake-MMM-WWW-and-wider")
    sessions = np.array([f"{1000 + i}/2008-02-2{i % 10}_{names[i % 3]}" for i in range(2 * NEAREST)])
    subjects = np.array([str(i // 2) for i in range(2 * NEAREST)])
    found = np.arange(1, NEAREST + 1)
    examples = [Example(0, found, np.linspace(0.9, -0.5, NEAREST), "narrowest miss", -0.1) for _ in range(count)]
    figure = retrieval_figure(
        "normal-albedo", examples, dict.fromkeys(range(10), np.zeros((64, 64, 3))), sessions, subjects
    )
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    assert figure._suptitle is not None  # matplotlib has no public name for it
    boxes = [figure._suptitle.get_window_extent(renderer)]
    for axes in figure.axes[: count * (NEAREST + 1)]:
        boxes += [axes.get_window_extent(renderer), axes.title.get_window_extent(renderer)]
    page = figure.bbox
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= page.x1 and box.y1 <= page.y1 for box in boxes)
    assert not any(one.padded(-0.5).overlaps(other.padded(-0.5)) for one, other in combinations(boxes, 2))
    sides = [axes.get_window_extent(renderer) for axes in figure.axes]
    assert all(0.95 < box.width / box.height < 1.05 for box in sides[: count * (NEAREST + 1)])
