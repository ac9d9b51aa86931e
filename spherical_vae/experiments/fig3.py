"""Figure 3: KL and mean cosine to the mean direction against the concentration; computed."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gammaln, ive

from spherical_vae import special
from spherical_vae.distributions import von_mises_fisher
from spherical_vae.experiments.experiment import Experiment
from spherical_vae.experiments.laboratory.runs import Laboratory
from spherical_vae.experiments.rendering.tables import Table, number

# The paper's grid. It prints curves and no numbers, so there is nothing to set beside ours.
DIMENSIONS = (25, 100)
CONCENTRATIONS = tuple(float(kappa) for kappa in range(5, 266, 20))
DRAWS = {"smoke": 2_000, "cpu": 100_000, "full": 100_000}


def exact(dimension: int, concentration: float) -> tuple[float, float]:
    """Computes KL to the uniform distribution (nats) and mean cosine by Bessel functions.

    In float64 from SciPy, nothing of ours: good where I_(d/2-1)(kappa) does not underflow.
    """
    order = dimension / 2 - 1
    log_bessel = np.log(ive(order, concentration)) + concentration
    cosine = ive(order + 1, concentration) / ive(order, concentration)
    log_constant = order * np.log(concentration) - dimension / 2 * np.log(2 * np.pi) - log_bessel
    log_area = np.log(2) + dimension / 2 * np.log(np.pi) - gammaln(dimension / 2)
    return float(concentration * cosine + log_constant + log_area), float(cosine)


def collect(laboratory: Laboratory) -> dict[str, Any]:
    """Computes the curves: ours, by Bessel functions, by Guu et al.'s formula, and from draws."""
    draws = DRAWS[laboratory.scale]
    points = []
    for dimension in DIMENSIONS:
        kappas = jnp.asarray(CONCENTRATIONS, jnp.float32)
        axis = jnp.zeros(dimension).at[0].set(1.0)
        kl = np.asarray(special.kl_to_uniform(dimension, kappas))
        guu = np.asarray(special.kl_to_uniform(dimension + 2, kappas))
        cosine = np.asarray(special.bessel_ratio(dimension, kappas))
        for i, kappa in enumerate(CONCENTRATIONS):
            key = jax.random.fold_in(jax.random.key(dimension), i)
            drawn = von_mises_fisher.sample(key, axis, kappas[i], sample_shape=(draws,))[:, 0]
            exact_kl, exact_cosine = exact(dimension, kappa)
            points.append(
                {
                    "dimension": dimension,
                    "concentration": kappa,
                    "kl_nats": float(kl[i]),
                    "kl_nats_exact": exact_kl,
                    "kl_nats_guu": float(guu[i]),
                    "mean_cosine": float(cosine[i]),
                    "mean_cosine_exact": exact_cosine,
                    "mean_cosine_drawn": float(drawn.mean()),
                    "standard_error": float(drawn.std() / np.sqrt(draws)),
                }
            )
    return {"draws": draws, "points": points}


def tables(record: Mapping[str, Any]) -> list[Table]:
    """Returns the curves as numbers."""
    rows = [
        [
            f"d={p['dimension']}, kappa={p['concentration']:g}",
            number(p["kl_nats"], 3),
            number(p["kl_nats_exact"], 3),
            number(p["kl_nats_guu"], 3),
            number(p["mean_cosine"], 4),
            number(p["mean_cosine_exact"], 4),
            f"{number(p['mean_cosine_drawn'], 4)} ± {number(p['standard_error'], 4)}",
        ]
        for p in record["points"]
    ]
    head = ["", "KL", "KL, Bessel", "KL, Guu et al.", "cosine", "cosine, Bessel", "cosine, drawn"]
    return [
        Table(
            head,
            rows,
            "KL in nats to the uniform distribution. Bessel: SciPy in float64. Guu et al.: the "
            f"formula of the authors' code. Drawn: {record['draws']} samples, ± one standard "
            "error. The paper prints curves only.",
        )
    ]


def draw(record: Mapping[str, Any]) -> Any:
    """Draws both curves: lines by Bessel functions, markers ours."""
    from spherical_vae.experiments.rendering.plots import COLOURS, MARKERS, new_figure

    figure, (kl_axes, cosine_axes) = new_figure(2)
    for i, dimension in enumerate(DIMENSIONS):
        points = [p for p in record["points"] if p["dimension"] == dimension]
        kappas = [p["concentration"] for p in points]
        look = {"color": COLOURS[i]}
        marker = {"marker": MARKERS[i], "linestyle": "", **look}
        kl_axes.plot(kappas, [p["kl_nats_exact"] for p in points], **look)
        kl_axes.plot(kappas, [p["kl_nats"] for p in points], label=f"d = {dimension}", **marker)
        kl_axes.plot(kappas, [p["kl_nats_guu"] for p in points], linestyle=":", **look)
        cosine_axes.plot(kappas, [p["mean_cosine_exact"] for p in points], **look)
        cosine_axes.plot(
            kappas, [p["mean_cosine_drawn"] for p in points], label=f"d = {dimension}", **marker
        )
    kl_axes.set(xlabel="concentration κ", ylabel="KL to uniform, nats")
    kl_axes.plot([], [], color="0.4", label="exact (Bessel)")
    kl_axes.plot([], [], color="0.4", linestyle=":", label="Guu et al.")
    cosine_axes.set(xlabel="concentration κ", ylabel="mean cosine to the mean direction")
    cosine_axes.plot([], [], color="0.4", label="exact; markers: drawn")
    for axes in (kl_axes, cosine_axes):
        axes.legend()
    return figure


EXPERIMENT = Experiment("KL and mean cosine against the concentration", collect, tables, draw=draw)
