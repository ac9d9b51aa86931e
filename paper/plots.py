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
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    # the same numbers give the same file.
    "svg.hashsalt": "spherical_vae",
}


def new_figure(columns: int = 1, width: float = 4.4, height: float = 3.3, **options: Any) -> Any:
    """Returns a figure and a list of its axes, `columns` of them side by side.

    Each is `width` by `height` inches; `options` are those of `matplotlib.figure.Figure.subplots`.
    """
    # Imported late: `list` works without matplotlib.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width * columns, height))
        return figure, list(figure.subplots(1, columns, squeeze=False, **options)[0])


def save(figure: Any, folder: Path, name: str) -> list[Path]:
    """Writes NAME.png and NAME.svg."""
    from matplotlib import rc_context

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    with rc_context(_STYLE):
        figure.savefig(paths[0], metadata={"Software": None})
        figure.savefig(paths[1], metadata={"Date": None, "Creator": None})
    return paths


def sphere_net() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the coordinates of meridians and parallels of the unit sphere."""
    angle, height = np.mgrid[0 : 2 * np.pi : 25j, 0 : np.pi : 13j]
    return np.cos(angle) * np.sin(height), np.sin(angle) * np.sin(height), np.cos(height)
