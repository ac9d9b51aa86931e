"""Figure 3: KL and mean cosine to the mean direction against the concentration; computed."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gammaln, ive

from paper.experiment import Computed
from paper.plots import COLOURS, MARKERS, new_figure
from paper.runner import Runner
from paper.tables import Table, number
from spherical_vae import special
from spherical_vae.distributions import von_mises_fisher

# The paper's grid. It prints curves and no numbers.
DIMENSIONS = (25, 100)
CONCENTRATIONS = tuple(float(kappa) for kappa in range(5, 266, 20))
_SAMPLES = {"smoke": 2_000, "cpu": 100_000, "full": 100_000}


def exact(dimension: int, concentration: float) -> tuple[float, float]:
    """Computes KL to the uniform distribution (nats) and mean cosine by Bessel functions.

    In float64 with SciPy, nothing of ours: accurate where I_(d/2-1)(kappa) does not underflow.
    """
    order = dimension / 2 - 1
    log_bessel = np.log(ive(order, concentration)) + concentration
    cosine = ive(order + 1, concentration) / ive(order, concentration)
    log_constant = order * np.log(concentration) - dimension / 2 * np.log(2 * np.pi) - log_bessel
    log_area = np.log(2) + dimension / 2 * np.log(np.pi) - gammaln(dimension / 2)
    return float(concentration * cosine + log_constant + log_area), float(cosine)


def compute(runner: Runner) -> SimpleNamespace:
    """Returns KL (nats) and mean cosine at each concentration: ours, exact, Guu's, sampled."""
    samples = _SAMPLES[runner.place.scale]
    kappas = jnp.asarray(CONCENTRATIONS, jnp.float32)
    points = []
    for dimension in DIMENSIONS:
        axis = jnp.zeros(dimension).at[0].set(1.0)
        kl = np.asarray(special.kl_to_uniform(dimension, kappas))
        guu = np.asarray(special.kl_to_uniform(dimension + 2, kappas))
        cosine = np.asarray(special.bessel_ratio(dimension, kappas))
        for i, kappa in enumerate(CONCENTRATIONS):
            key = jax.random.fold_in(jax.random.key(dimension), i)
            sampled = von_mises_fisher.sample(key, axis, kappas[i], sample_shape=(samples,))[:, 0]
            exact_kl, exact_cosine = exact(dimension, kappa)
            point = SimpleNamespace(
                dimension=dimension,
                concentration=kappa,
                kl_nats=float(kl[i]),
                kl_nats_exact=exact_kl,
                kl_nats_guu=float(guu[i]),
                mean_cosine=float(cosine[i]),
                mean_cosine_exact=exact_cosine,
                mean_cosine_sampled=float(sampled.mean()),
                standard_error=float(sampled.std() / np.sqrt(samples)),
            )
            points.append(point)
    return SimpleNamespace(samples=samples, points=points)


def tables(values: Any, scale: str) -> Sequence[Table]:
    """Returns the curves as numbers."""
    rows = [
        [
            f"d={p.dimension}, kappa={p.concentration:g}",
            number(p.kl_nats, 3),
            number(p.kl_nats_exact, 3),
            number(p.kl_nats_guu, 3),
            number(p.mean_cosine, 4),
            number(p.mean_cosine_exact, 4),
            f"{number(p.mean_cosine_sampled, 4)} ± {number(p.standard_error, 4)}",
        ]
        for p in values.points
    ]
    head = ["", "KL", "KL, Bessel", "KL, Guu et al.", "cosine", "cosine, Bessel", "cosine, sampled"]
    caption = (
        "KL in nats to the uniform distribution. Bessel: SciPy in float64. Guu et al.: the formula "
        f"of the authors' code. Sampled: {values.samples} samples, ± one standard error. The paper "
        "prints curves only."
    )
    return [Table(head, rows, caption)]


def draw(values: Any) -> Any:
    """Draws both curves: lines with Bessel functions, markers ours."""
    figure, (kl_axes, cosine_axes) = new_figure(2)
    for i, dimension in enumerate(DIMENSIONS):
        points = [p for p in values.points if p.dimension == dimension]
        kappas = [p.concentration for p in points]
        marker = {"marker": MARKERS[i], "linestyle": "", "label": f"d = {dimension}"}
        for axes, key, look in (
            (kl_axes, "kl_nats_exact", {}),
            (kl_axes, "kl_nats", marker),
            (kl_axes, "kl_nats_guu", {"linestyle": ":"}),
            (cosine_axes, "mean_cosine_exact", {}),
            (cosine_axes, "mean_cosine_sampled", marker),
        ):
            axes.plot(kappas, [getattr(p, key) for p in points], color=COLOURS[i], **look)
    kl_axes.set(xlabel="concentration κ", ylabel="KL to uniform, nats")
    kl_axes.plot([], [], color="0.4", label="exact (Bessel)")
    kl_axes.plot([], [], color="0.4", linestyle=":", label="Guu et al.")
    cosine_axes.set(xlabel="concentration κ", ylabel="mean cosine to the mean direction")
    cosine_axes.plot([], [], color="0.4", label="exact; markers: sampled")
    for axes in (kl_axes, cosine_axes):
        axes.legend()
    return figure


EXPERIMENTS = (Computed("fig3", compute, tables, draw),)
