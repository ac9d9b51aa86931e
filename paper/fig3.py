"""Figure 3: KL and mean cosine to the mean direction against the concentration; computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gammaln, ive

from paper.experiment import Computed
from paper.runner import Runner
from paper.tables import Table, number
from spherical_vae import special
from spherical_vae.distributions import von_mises_fisher

# The paper's grid. It prints curves and no numbers.
DIMENSIONS = (25, 100)
CONCENTRATIONS = tuple(float(kappa) for kappa in range(5, 266, 20))
_SAMPLES = {"smoke": 2_000, "cpu": 100_000, "full": 100_000}


@dataclass(frozen=True)
class CurvePoint:
    """KL (nats) and mean cosine at one concentration: ours, exact, Guu et al.'s, sampled."""

    dimension: int
    concentration: float
    kl_nats: float
    kl_nats_exact: float
    kl_nats_guu: float
    mean_cosine: float
    mean_cosine_exact: float
    mean_cosine_sampled: float
    standard_error: float


@dataclass(frozen=True)
class Curves:
    """Figure 3."""

    samples: int
    points: tuple[CurvePoint, ...]


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


def compute(runner: Runner) -> Curves:
    """Computes the curves: ours, with Bessel functions, by Guu et al.'s formula, from samples."""
    samples = _SAMPLES[runner.place.scale]
    points = []
    for dimension in DIMENSIONS:
        kappas = jnp.asarray(CONCENTRATIONS, jnp.float32)
        axis = jnp.zeros(dimension).at[0].set(1.0)
        kl = np.asarray(special.kl_to_uniform(dimension, kappas))
        guu = np.asarray(special.kl_to_uniform(dimension + 2, kappas))
        cosine = np.asarray(special.bessel_ratio(dimension, kappas))
        for i, kappa in enumerate(CONCENTRATIONS):
            key = jax.random.fold_in(jax.random.key(dimension), i)
            drawn = von_mises_fisher.sample(key, axis, kappas[i], sample_shape=(samples,))[:, 0]
            exact_kl, exact_cosine = exact(dimension, kappa)
            points.append(
                CurvePoint(
                    dimension,
                    kappa,
                    float(kl[i]),
                    exact_kl,
                    float(guu[i]),
                    float(cosine[i]),
                    exact_cosine,
                    float(drawn.mean()),
                    float(drawn.std() / np.sqrt(samples)),
                )
            )
    return Curves(samples, tuple(points))


def tables(values: Curves, scale: str) -> Sequence[Table]:
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


def draw(values: Curves) -> Any:
    """Draws both curves: lines with Bessel functions, markers ours."""
    from paper.plots import COLOURS, MARKERS, new_figure

    figure, (kl_axes, cosine_axes) = new_figure(2)
    for i, dimension in enumerate(DIMENSIONS):
        points = [p for p in values.points if p.dimension == dimension]
        kappas = [p.concentration for p in points]
        look = {"color": COLOURS[i]}
        marker = {"marker": MARKERS[i], "linestyle": "", **look}
        kl_axes.plot(kappas, [p.kl_nats_exact for p in points], **look)
        kl_axes.plot(kappas, [p.kl_nats for p in points], label=f"d = {dimension}", **marker)
        kl_axes.plot(kappas, [p.kl_nats_guu for p in points], linestyle=":", **look)
        cosine_axes.plot(kappas, [p.mean_cosine_exact for p in points], **look)
        cosine_axes.plot(
            kappas, [p.mean_cosine_sampled for p in points], label=f"d = {dimension}", **marker
        )
    kl_axes.set(xlabel="concentration κ", ylabel="KL to uniform, nats")
    kl_axes.plot([], [], color="0.4", label="exact (Bessel)")
    kl_axes.plot([], [], color="0.4", linestyle=":", label="Guu et al.")
    cosine_axes.set(xlabel="concentration κ", ylabel="mean cosine to the mean direction")
    cosine_axes.plot([], [], color="0.4", label="exact; markers: sampled")
    for axes in (kl_axes, cosine_axes):
        axes.legend()
    return figure


EXPERIMENTS = (
    Computed("fig3", "KL and mean cosine against the concentration", Curves, compute, tables, draw),
)
