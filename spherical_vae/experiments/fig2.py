"""Figure 2: how q(z|x) of one example moves through training, Gaussian against vMF."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spherical_vae.experiments.experiment import Experiment
from spherical_vae.experiments.laboratory.run import Run
from spherical_vae.experiments.laboratory.runs import Laboratory
from spherical_vae.experiments.laboratory.settings import HONEST, Setting, rows
from spherical_vae.experiments.measures.trace import read_trace, train_traced
from spherical_vae.experiments.rendering.row_tables import (
    DOCUMENT_COLUMNS,
    bounds_table,
    runs_table,
)
from spherical_vae.experiments.rendering.tables import Table, number

# The paper's figure is a sketch; this is a record, in as many dimensions as can be drawn.
EPOCHS = 20
EVERY = 20  # steps from one record to the next
TABLED = 8  # of the records of a run
# What a Gaussian in the plane has within one standard deviation.
INSIDE = 1 - np.exp(-0.5)
_SHARED = {"train.epochs": EPOCHS, "train.evaluate_every": EVERY, "train.log_every": EVERY}


def settings(scale: str) -> list[Setting]:
    """Returns both rows; nothing is tried for them."""
    del scale
    return [
        Setting(
            f"20NG {model} d={dimension}",
            config,
            {"latent.dimension": dimension, **_SHARED},
            protocols=(HONEST,),
            facts={"model": model, "dimension": dimension},
        )
        for model, dimension, config in (
            ("Gaussian", 2, "news20:gaussian"),
            ("vMF", 3, "news20"),
        )
    ]


def collect(laboratory: Laboratory) -> dict[str, Any]:
    """Trains what is missing and writes the example's posterior down on the way."""

    def more(setting: Setting, run: Run) -> dict[str, Any]:
        del setting
        laboratory.trained_here(run)
        return {"trace": read_trace(laboratory.directory(laboratory.config(run)))}

    return {"rows": rows(laboratory, settings(laboratory.scale), more, train_traced)}


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Returns some of the trace, the honest figures, the runs."""
    found = record["rows"]
    body = []
    for row in found:
        for run in row["runs"][:1]:
            points = run["trace"]["points"]
            for i in np.unique(np.linspace(0, len(points) - 1, TABLED).round().astype(int)):
                body.append([row["name"], *_cells(points[i])])
    head = ["row", "step", "mean", "deviation or kappa", "KL"]
    caption = (
        "Seed 0: q of the first example of dev through training. Mean: of the Gaussian, or the "
        "mean direction of vMF; KL in nats."
    )
    return [
        Table(head, body, caption),
        bounds_table(found, DOCUMENT_COLUMNS, lambda row: row["name"]),
        runs_table(found),
    ]


def _cells(point: Mapping[str, Any]) -> list[str]:
    spread = point.get("deviation", [point.get("concentration")])
    return [
        str(point["step"]),
        ", ".join(number(value, 3) for value in point["mean"]),
        ", ".join(number(value, 3) for value in spread),
        number(point["kl_nats"], 3),
    ]


def remarks(record: Mapping[str, Any]) -> list[str]:
    """Returns where the example's KL began and ended."""
    said = []
    for row in record["rows"]:
        for run in row["runs"][:1]:
            trace = run["trace"]
            first, last = trace["points"][0], trace["points"][-1]
            said.append(
                f"{row['name']}: KL of this example ({trace['tokens']} tokens) "
                f"{number(first['kl_nats'], 2)} nats before training, "
                f"{number(last['kl_nats'], 2)} after step {last['step']}."
            )
    return said


def cap_cosine(concentration: float, share: float = INSIDE) -> float:
    """Returns the cosine to the mean direction above which vMF in R^3 has a share of its mass.

    Args:
      concentration: above 0.
      share: between 0 and 1.

    Returns:
      c with P(mu.z > c) = share; mu.z has density proportional to exp(kappa w) on [-1, 1].
    """
    return float(1 + np.log1p(share * np.expm1(-2 * concentration)) / concentration)


def draw(record: Mapping[str, Any]) -> Any:
    """Draws the paths of seed 0 in the plane and on the sphere, and the KL on the way."""
    from spherical_vae.experiments.rendering.plots import GAUSSIAN, VMF, new_figure, plt

    traces = {
        row["facts"]["model"]: row["runs"][0]["trace"] for row in record["rows"] if row["runs"]
    }
    figure, panels = new_figure(3, width=4.2, height=3.9)
    plane, flat, curve = panels
    place = flat.get_subplotspec()
    flat.remove()
    sphere = figure.add_subplot(place, projection="3d")
    last = max((trace["points"][-1]["step"] for trace in traces.values()), default=1)
    shade = plt.cm.ScalarMappable(plt.Normalize(0, last), "cividis")
    if "Gaussian" in traces:
        _draw_plane(plane, traces["Gaussian"]["points"], shade)
    if "vMF" in traces:
        _draw_sphere(sphere, traces["vMF"]["points"], shade)
    for model, colour, style in (("Gaussian", GAUSSIAN, "-"), ("vMF", VMF, "--")):
        points = traces.get(model, {"points": []})["points"]
        steps, kl = [p["step"] for p in points], [p["kl_nats"] for p in points]
        curve.plot(steps, kl, style, color=colour, label=model)
    curve.set(xlabel="training steps", ylabel="KL of the example, nats", title="its KL")
    curve.set_ylim(bottom=0)
    curve.legend()
    figure.colorbar(shade, ax=[plane, sphere], label="training steps", shrink=0.8)
    return figure


def _outlined(points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the records whose spread is drawn too, closer together where training begins."""
    chosen = np.unique(np.geomspace(1, len(points), 7).round().astype(int)) - 1
    return [points[i] for i in chosen]


def _draw_plane(axes: Any, points: Sequence[Mapping[str, Any]], shade: Any) -> None:
    angle = np.linspace(0, 2 * np.pi, 100)
    axes.plot(np.cos(angle), np.sin(angle), ":", color="0.4", label="prior")
    for point in _outlined(points):
        x, y = (
            mean + deviation * turn
            for mean, deviation, turn in zip(
                point["mean"], point["deviation"], (np.cos(angle), np.sin(angle)), strict=True
            )
        )
        axes.plot(x, y, color=shade.to_rgba(point["step"]), linewidth=1.2)
    means = np.array([point["mean"] for point in points])
    axes.plot(*means.T, color="0.6", linewidth=0.8)
    axes.scatter(*means.T, s=9, c=shade.to_rgba([p["step"] for p in points]), zorder=3)
    axes.set_aspect("equal", "datalim")
    axes.set(title="Gaussian, d = 2", xlabel="$z_1$", ylabel="$z_2$")
    axes.legend(loc="upper left")


def _draw_sphere(axes: Any, points: Sequence[Mapping[str, Any]], shade: Any) -> None:
    angle, height = np.mgrid[0 : 2 * np.pi : 25j, 0 : np.pi : 13j]
    net = np.cos(angle) * np.sin(height), np.sin(angle) * np.sin(height), np.cos(height)
    axes.plot_wireframe(*net, color="0.8", linewidth=0.4)
    means = np.array([point["mean"] for point in points])
    turn = np.linspace(0, 2 * np.pi, 100)[:, None]
    for point in _outlined(points):
        direction = np.array(point["mean"])
        cosine = cap_cosine(point["concentration"])
        one, other = np.linalg.svd(direction[None])[2][1:]
        rim = np.sqrt(1 - cosine**2) * (np.cos(turn) * one + np.sin(turn) * other)
        axes.plot(*(cosine * direction + rim).T, color=shade.to_rgba(point["step"]), linewidth=1.2)
    axes.plot(*means.T, color="0.6", linewidth=0.8)
    colours = shade.to_rgba([p["step"] for p in points])
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


EXPERIMENT = Experiment(
    "How q of one example moves through training (20NG)",
    collect,
    tables,
    settings=settings,
    draw=draw,
    remarks=remarks,
    notes=(
        "The paper sketches this; here are records of two small NVDM, of as many dimensions as can "
        f"be drawn, {EPOCHS} epochs each, with the settings of `configs/news20.py` otherwise. "
        "Outlines hold 39% of q: one standard deviation of a Gaussian in the plane. The example "
        "is the first of dev; nobody has picked it.",
        "Dimensions and KL differ between the two, and nothing was tuned: this is no comparison "
        "of how well they model text.",
    ),
)
