"""Figure 2: how q(z|x) of one example moves through training, Gaussian against vMF."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from paper.experiment import Trained
from paper.plots import MODEL_COLOURS, new_figure, sphere_net
from paper.specs import GAUSSIAN, HONEST, VMF, Filled, Row
from paper.tables import Table, bounds_table, number

# The paper's figure is a sketch; this is a record, in as many dimensions as can be drawn.
_EVERY = 20  # steps from one point to the next
_TABLED = 8  # points of a run
# What a Gaussian in the plane has within one standard deviation.
INSIDE = 1 - np.exp(-0.5)


def fig2_rows(scale: str) -> list[Row]:
    """Returns both rows; nothing is tried for them."""
    shared = {"train.epochs": 20, "train.evaluate_every": _EVERY, "train.log_every": _EVERY}
    return [
        Row(
            name := f"20NG {model} d={dimension}",
            name,
            model,
            config,
            {"latent.dimension": dimension, **shared},
            bounds=(HONEST,),
            extras=("trace",),
        )
        for model, dimension, config in ((GAUSSIAN, 2, "news20:gaussian"), (VMF, 3, "news20"))
    ]


def _tables(rows: Sequence[Filled], scale: str) -> list[Table]:
    body = []
    for one in rows:
        for run in one.runs[:1]:
            points = run.trace.points
            for i in np.unique(np.linspace(0, len(points) - 1, _TABLED).round().astype(int)):
                point = points[i]
                spread = point.deviation if one.row.model == GAUSSIAN else [point.concentration]
                numbers = [", ".join(number(v, 3) for v in some) for some in (point.mean, spread)]
                kl = number(point.kl_nats, 3)
                body.append([one.row.name, str(run.trace.tokens), str(point.step), *numbers, kl])
    head = ["row", "tokens", "step", "mean", "deviation or kappa", "KL"]
    caption = (
        "First seed: q of the first example of validation through training. Mean: of the Gaussian, "
        "or the mean direction of vMF; KL in nats."
    )
    return [Table(head, body, caption), *bounds_table(rows, documents=True)]


def cap_cosine(concentration: float) -> float:
    """Returns the cosine to the mean direction above which vMF in R^3 has `INSIDE` of its mass.

    Args:
      concentration: above 0.

    Returns:
      c with P(mu.z > c) = INSIDE; mu.z has density proportional to exp(kappa w) on [-1, 1].
    """
    return float(1 + np.log1p(INSIDE * np.expm1(-2 * concentration)) / concentration)


def draw(rows: Sequence[Filled]) -> Any:
    """Draws the paths of the first seeds in the plane and on the sphere, and the KL on the way."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    traces = {one.row.model: one.runs[0].trace for one in rows if one.runs}
    figure, panels = new_figure(3, width=4.2, height=3.9)
    plane, flat, curve = panels
    place = flat.get_subplotspec()
    flat.remove()
    sphere = figure.add_subplot(place, projection="3d")
    last = max((trace.points[-1].step for trace in traces.values()), default=1)
    shade = ScalarMappable(Normalize(0, last), "cividis")
    if GAUSSIAN in traces:
        _draw_plane(plane, traces[GAUSSIAN].points, shade)
    if VMF in traces:
        _draw_sphere(sphere, traces[VMF].points, shade)
    for model, style in ((GAUSSIAN, "-"), (VMF, "--")):
        points = traces[model].points if model in traces else ()
        steps, kl = [p.step for p in points], [p.kl_nats for p in points]
        curve.plot(steps, kl, style, color=MODEL_COLOURS[model], label=model)
    curve.set(xlabel="training steps", ylabel="KL of the example, nats", title="its KL")
    curve.set_ylim(bottom=0)
    curve.legend()
    figure.colorbar(shade, ax=[plane, sphere], label="training steps", shrink=0.8)
    return figure


def _outlined(points: Sequence[Any]) -> list[Any]:
    """Returns the points whose spread is drawn too, closer together where training begins."""
    chosen = np.unique(np.geomspace(1, len(points), 7).round().astype(int)) - 1
    return [points[i] for i in chosen]


def _draw_plane(axes: Any, points: Sequence[Any], shade: Any) -> None:
    angle = np.linspace(0, 2 * np.pi, 100)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    axes.plot(*circle.T, ":", color="0.4", label="prior")
    for point in _outlined(points):
        outline = np.array(point.mean) + np.array(point.deviation) * circle
        axes.plot(*outline.T, color=shade.to_rgba(point.step), linewidth=1.2)
    means = np.array([point.mean for point in points])
    axes.plot(*means.T, color="0.6", linewidth=0.8)
    axes.scatter(*means.T, s=9, c=shade.to_rgba([p.step for p in points]), zorder=3)
    axes.set_aspect("equal", "datalim")
    axes.set(title="Gaussian, d = 2", xlabel="$z_1$", ylabel="$z_2$")
    axes.legend(loc="upper left")


def _draw_sphere(axes: Any, points: Sequence[Any], shade: Any) -> None:
    axes.plot_wireframe(*sphere_net(), color="0.8", linewidth=0.4)
    means = np.array([point.mean for point in points])
    turn = np.linspace(0, 2 * np.pi, 100)[:, None]
    for point in _outlined(points):
        direction = np.array(point.mean)
        cosine = cap_cosine(point.concentration)
        one, other = np.linalg.svd(direction[None])[2][1:]
        rim = np.sqrt(1 - cosine**2) * (np.cos(turn) * one + np.sin(turn) * other)
        axes.plot(*(cosine * direction + rim).T, color=shade.to_rgba(point.step), linewidth=1.2)
    axes.plot(*means.T, color="0.6", linewidth=0.8)
    colours = shade.to_rgba([p.step for p in points])
    axes.scatter(*means.T, s=9, c=colours, depthshade=False)
    # Seen from where the path is.
    x, y, z = means.sum(axis=0)
    axes.view_init(
        elev=float(np.degrees(np.arctan2(z, np.hypot(x, y)))),
        azim=float(np.degrees(np.arctan2(y, x))),
    )
    axes.set_box_aspect((1, 1, 1), zoom=1.2)
    axes.set_axis_off()
    axes.set(title="vMF, d = 3", xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1))


EXPERIMENTS = (Trained("fig2", fig2_rows, _tables, draw),)
