"""Figure 1: draws from N(0, I) and from a vMF with concentration 100 on the sphere in R^3."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spherical_vae import special
from spherical_vae.distributions import von_mises_fisher
from spherical_vae.experiments.experiment import Experiment
from spherical_vae.experiments.laboratory.runs import Laboratory
from spherical_vae.experiments.rendering.tables import Table, number

DIMENSION, CONCENTRATION = 3, 100.0
DRAWS = {"smoke": 40, "cpu": 400, "full": 400}
_DIGITS = 3  # of a coordinate in the record


def collect(laboratory: Laboratory) -> dict[str, Any]:
    """Draws from both, and from the uniform distribution that is the vMF's prior."""
    key_normal, key_vmf = jax.random.split(jax.random.key(1))
    draws = DRAWS[laboratory.scale]
    direction = jnp.ones(DIMENSION) / jnp.sqrt(DIMENSION)
    normal = jax.random.normal(key_normal, (draws, DIMENSION))
    vmf = von_mises_fisher.sample(
        key_vmf, direction, jnp.float32(CONCENTRATION), sample_shape=(draws,)
    )
    cosines = np.asarray(vmf @ direction)
    return {
        "draws": draws,
        "mean_direction": np.asarray(direction).round(_DIGITS).tolist(),
        "normal": np.asarray(normal, np.float64).round(_DIGITS).tolist(),
        "vmf": np.asarray(vmf, np.float64).round(_DIGITS).tolist(),
        "normal_mean_norm": float(jnp.linalg.norm(normal, axis=1).mean()),
        "normal_mean_norm_exact": float(np.sqrt(8 / np.pi)),
        "vmf_mean_cosine": float(cosines.mean()),
        "vmf_mean_cosine_exact": float(special.bessel_ratio(DIMENSION, jnp.float32(CONCENTRATION))),
        "vmf_standard_error": float(cosines.std() / np.sqrt(draws)),
    }


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Returns what can be checked of the draws."""
    return [
        Table(
            ["", "drawn", "exact"],
            [
                [
                    "N(0, I): mean length",
                    number(record["normal_mean_norm"], 3),
                    number(record["normal_mean_norm_exact"], 3),
                ],
                [
                    f"vMF, kappa={CONCENTRATION:g}: mean cosine to the mean direction",
                    number(record["vmf_mean_cosine"], 4),
                    number(record["vmf_mean_cosine_exact"], 4),
                ],
            ],
            f"{record['draws']} draws of each in R^{DIMENSION}.",
        )
    ]


def draw(record: Mapping[str, Any]) -> Any:
    """Draws both clouds, the sphere as a net."""
    from spherical_vae.experiments.rendering.plots import GAUSSIAN, VMF, new_figure

    figure, panels = new_figure(2, subplot_kw={"projection": "3d"}, height=4.0)
    angle, height = np.mgrid[0 : 2 * np.pi : 25j, 0 : np.pi : 13j]
    net = np.cos(angle) * np.sin(height), np.sin(angle) * np.sin(height), np.cos(height)
    for axes, name, title, colour, limit in (
        (panels[0], "normal", "N(0, I)", GAUSSIAN, 3),
        (panels[1], "vmf", f"vMF, κ = {CONCENTRATION:g}", VMF, 1),
    ):
        points = np.asarray(record[name])
        axes.plot_wireframe(*net, color="0.7", linewidth=0.4)
        axes.scatter(*points.T, s=5, color=colour, depthshade=False)
        axes.set(title=title, xlim=(-limit, limit), ylim=(-limit, limit), zlim=(-limit, limit))
        axes.set_box_aspect((1, 1, 1))
        # Ticks away from the corners, where labels of two axes would meet; the vMF in front.
        for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
            axis.set_ticks([-limit / 2, 0, limit / 2])
        axes.view_init(elev=20, azim=20)
    return figure


EXPERIMENT = Experiment("Draws from N(0, I) and from vMF", collect, tables, draw=draw)
