"""Style of all figures: colours that colour-blind readers can tell apart, PNG and SVG."""

from pathlib import Path
from typing import Any

import numpy as np

# Okabe and Ito (2008), in an order in which neighbours differ in lightness too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MODEL_COLOURS = {"vMF": COLOURS[0], "Gaussian": COLOURS[1]}

_STYLE: Any = {
    "figure.dpi": 110,
    "savefig.dpi": 150,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    # the same numbers give the same file.
    "svg.hashsalt": "spherical_vae",
}


def pyplot() -> Any:
    """Returns `matplotlib.pyplot`, which writes files only; `list` works without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot

    return matplotlib.pyplot


def new_figure(columns: int = 1, width: float = 4.4, height: float = 3.3, **options: Any) -> Any:
    """Returns a figure with `columns` axes side by side.

    Args:
      columns: number of axes.
      width: of each, inches.
      height: inches.
      **options: of `matplotlib.pyplot.subplots`.

    Returns:
      The figure, and a list of its axes.
    """
    plt = pyplot()
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            1, columns, figsize=(width * columns, height), squeeze=False, **options
        )
    return figure, list(axes[0])


def save(figure: Any, folder: Path, name: str) -> list[Path]:
    """Writes NAME.png and NAME.svg and closes the figure."""
    folder.mkdir(parents=True, exist_ok=True)
    plt = pyplot()
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    with plt.rc_context(_STYLE):
        figure.savefig(paths[0], metadata={"Software": None})
        figure.savefig(paths[1], metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return paths


def sphere_net() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the coordinates of meridians and parallels of the unit sphere."""
    angle, height = np.mgrid[0 : 2 * np.pi : 25j, 0 : np.pi : 13j]
    return np.cos(angle) * np.sin(height), np.sin(angle) * np.sin(height), np.cos(height)
