"""Figure 1: samples of N(0, I) and of a vMF with concentration 100 on the sphere in R^3."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from paper.experiment import Computed
from paper.plots import MODEL_COLOURS, new_figure, sphere_net
from paper.runner import Runner
from paper.tables import Table, number
from spherical_vae import special
from spherical_vae.distributions import von_mises_fisher

DIMENSION, CONCENTRATION = 3, 100.0
_SAMPLES = {"smoke": 40, "cpu": 400, "full": 400}
_DIGITS = 3  # of a coordinate


def compute(runner: Runner) -> SimpleNamespace:
    """Returns samples of both distributions, and what can be checked of them."""
    key_normal, key_vmf = jax.random.split(jax.random.key(1))
    count = _SAMPLES[runner.place.scale]
    direction = jnp.ones(DIMENSION) / jnp.sqrt(DIMENSION)
    normal = jax.random.normal(key_normal, (count, DIMENSION))
    vmf = von_mises_fisher.sample(
        key_vmf, direction, jnp.float32(CONCENTRATION), sample_shape=(count,)
    )
    cosines = np.asarray(vmf @ direction)
    return SimpleNamespace(
        samples=count,
        normal=np.asarray(normal, np.float64).round(_DIGITS).tolist(),
        vmf=np.asarray(vmf, np.float64).round(_DIGITS).tolist(),
        normal_mean_norm=float(jnp.linalg.norm(normal, axis=1).mean()),
        normal_mean_norm_exact=float(np.sqrt(8 / np.pi)),
        vmf_mean_cosine=float(cosines.mean()),
        vmf_mean_cosine_exact=float(special.bessel_ratio(DIMENSION, jnp.float32(CONCENTRATION))),
        vmf_standard_error=float(cosines.std() / np.sqrt(count)),
    )


def tables(values: Any, scale: str) -> Sequence[Table]:
    """Returns what can be checked of the samples."""
    norm = number(values.normal_mean_norm, 3), number(values.normal_mean_norm_exact, 3)
    cosine = number(values.vmf_mean_cosine, 4), number(values.vmf_mean_cosine_exact, 4)
    rows = [
        ["N(0, I): mean length", *norm],
        [f"vMF, kappa={CONCENTRATION:g}: mean cosine to the mean direction", *cosine],
    ]
    return [Table(["", "sampled", "exact"], rows, f"{values.samples} samples in R^{DIMENSION}.")]


def draw(values: Any) -> Any:
    """Draws both clouds, the sphere as a net."""
    figure, panels = new_figure(2, subplot_kw={"projection": "3d"}, height=4.0)
    for axes, cloud, title, colour, limit in (
        (panels[0], values.normal, "N(0, I)", MODEL_COLOURS["Gaussian"], 3),
        (panels[1], values.vmf, f"vMF, κ = {CONCENTRATION:g}", MODEL_COLOURS["vMF"], 1),
    ):
        axes.plot_wireframe(*sphere_net(), color="0.7", linewidth=0.4)
        axes.scatter(*np.asarray(cloud).T, s=5, color=colour, depthshade=False)
        axes.set(title=title, xlim=(-limit, limit), ylim=(-limit, limit), zlim=(-limit, limit))
        axes.set_box_aspect((1, 1, 1))
        # Ticks away from the corners, where labels of two axes would meet; the vMF in front.
        for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
            axis.set_ticks([-limit / 2, 0, limit / 2])
        axes.view_init(elev=20, azim=20)
    return figure


EXPERIMENTS = (Computed("fig1", compute, tables, draw),)
