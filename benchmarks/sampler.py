"""Time to sample from the vMF distribution, ours and others', over that of normal numbers.

    python benchmarks/sampler.py --json sampler.json --plot sampler.png

Every peer is optional (`pip install -e ".[bench]"`); a missing one is named on standard error.
All candidates of one size run in one process, in turns. Times are of the second and later calls.
"""

import argparse
import itertools
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import timing

from spherical_vae.distributions import von_mises_fisher

FLOOR = "normal"
GAUSSIAN = "gaussian"  # mean + scale * normal, with the same parameters: the floor of gradients

Candidates = dict[str, Callable[[], object]]


def unit_rows(n: int, d: int) -> np.ndarray:
    """Returns n random unit vectors, float32."""
    rows = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def device_rows(n: int, d: int) -> jax.Array:
    """Returns as many, made where they are needed: a gigabyte of them takes the host seconds."""
    rows = jax.jit(jax.random.normal, static_argnums=1)(jax.random.key(1), (n, d))
    return rows / jnp.linalg.norm(rows, axis=1, keepdims=True)


def jax_call(function: Callable, *arguments: object) -> partial:
    """Compiles and returns a call that waits for the result; its `args` are what it is made of."""
    return partial(timing.waited_for, jax.jit(function), *arguments)


def our_candidates(n: int, d: int, kappa: float, parameters: str) -> Candidates:
    """Draws of ours and the floors. Shared: one mean direction; per_row: one and a kappa a row."""
    key = jax.random.key(0)
    if parameters == "shared":
        direction, concentration, shape = jnp.asarray(unit_rows(1, d)[0]), jnp.float32(kappa), (n,)
    else:
        direction = device_rows(n, d)
        concentration, shape = jnp.full((n,), kappa, jnp.float32), ()
    candidates: Candidates = {
        FLOOR: jax_call(lambda k: jax.random.normal(k, (n, d)), key),
        GAUSSIAN: jax_call(
            lambda k, mu: jnp.broadcast_to(mu, (n, d)) + 0.1 * jax.random.normal(k, (n, d)),
            key,
            direction,
        ),
    }
    for method in von_mises_fisher.METHODS:
        candidates[method] = jax_call(
            lambda k, mu, c, method=method: von_mises_fisher.sample(k, mu, c, shape, method),
            key,
            direction,
            concentration,
        )
    return candidates


def our_gradients(n: int, d: int, kappa: float) -> Candidates:
    """Forward and backward in the mean direction and a concentration a row."""
    key = jax.random.key(0)
    direction = device_rows(n, d)
    concentration = jnp.full((n,), kappa, jnp.float32)
    cotangent = direction[::-1]

    # An argument: as a constant of the program, 2 GB of it would be compiled.
    def gaussian(mu: jax.Array, scale: jax.Array, k: jax.Array, bar: jax.Array) -> jax.Array:
        z = mu + scale[:, None] * jax.random.normal(k, (n, d))
        return (z * bar).sum()

    def ours(method: str) -> Callable:
        def total(mu: jax.Array, c: jax.Array, k: jax.Array, bar: jax.Array) -> jax.Array:
            return (von_mises_fisher.sample(k, mu, c, (), method) * bar).sum()

        gradient = jax.value_and_grad(total, argnums=(0, 1))
        return jax_call(gradient, direction, concentration, key, cotangent)

    candidates: Candidates = {
        FLOOR: jax_call(lambda k: jax.random.normal(k, (n, d)), key),
        GAUSSIAN: jax_call(
            jax.value_and_grad(gaussian, argnums=(0, 1)),
            direction,
            concentration / 100,
            key,
            cotangent,
        ),
    }
    return candidates | {method: ours(method) for method in von_mises_fisher.METHODS}


def tfp_candidate(n: int, d: int, kappa: float) -> Candidates:
    """TensorFlow Probability on JAX (its nightly; the release does not import on current JAX)."""
    from tensorflow_probability.substrates import jax as tfp

    direction = jnp.asarray(unit_rows(1, d)[0])
    law = tfp.distributions.VonMisesFisher(direction, jnp.float32(kappa))
    return {"tfp": jax_call(lambda key: law.sample(n, seed=key), jax.random.key(0))}


def torch_candidates(n: int, d: int, kappa: float) -> Candidates:
    """torch.randn, and the method of s-vae-pytorch: Wood with torch's beta, then a reflection."""
    import torch

    direction = torch.from_numpy(unit_rows(1, d)[0])
    m = d - 1
    b = (-2 * kappa + math.sqrt(4 * kappa**2 + m**2)) / m
    x0 = (1 - b) / (1 + b)
    constant = kappa * x0 + m * math.log(1 - x0**2)
    beta = torch.distributions.Beta(torch.tensor(m / 2.0), torch.tensor(m / 2.0))
    axis = torch.zeros(d)
    axis[0] = 1.0
    mirror = axis - direction
    mirror = mirror / mirror.norm()

    def rejection() -> torch.Tensor:
        cosine = torch.empty(n)
        left = torch.arange(n)
        while len(left):
            proposal = beta.sample((len(left),))
            w = (1 - (1 + b) * proposal) / (1 - (1 - b) * proposal)
            accepted = kappa * w + m * torch.log(1 - x0 * w) - constant >= torch.log(
                torch.rand(len(left))
            )
            cosine[left[accepted]] = w[accepted]
            left = left[~accepted]
        tangent = torch.randn(n, m)
        tangent = tangent / tangent.norm(dim=1, keepdim=True)
        sine = torch.sqrt(torch.clamp(1 - cosine**2, min=1e-10))
        z = torch.cat([cosine[:, None], sine[:, None] * tangent], 1)
        return z - 2 * (z @ mirror)[:, None] * mirror

    return {"torch_randn": lambda: torch.randn(n, d), "s_vae_method": rejection}


def scipy_candidate(n: int, d: int, kappa: float) -> Candidates:
    """scipy.stats.vonmises_fisher."""
    from scipy.stats import vonmises_fisher

    law = vonmises_fisher(unit_rows(1, d)[0].astype(np.float64), kappa)
    random = np.random.default_rng(0)
    return {"scipy": lambda: law.rvs(n, random_state=random)}


def geomstats_candidate(n: int, d: int, kappa: float) -> Candidates:
    """The hypersphere of geomstats."""
    if not hasattr(np, "trapz"):
        # It imports a name that NumPy 2.4 no longer has.
        setattr(np, "trapz", np.trapezoid)  # noqa: B010 - the linter rewrites the plain form
    from geomstats.geometry.hypersphere import Hypersphere

    sphere = Hypersphere(dim=d - 1)
    direction = unit_rows(1, d)[0].astype(np.float64)
    return {
        "geomstats": lambda: sphere.random_von_mises_fisher(mu=direction, kappa=kappa, n_samples=n)
    }


PEERS = {
    "tfp": tfp_candidate,
    "torch": torch_candidates,
    "scipy": scipy_candidate,
    "geomstats": geomstats_candidate,
}


def records_of(
    timings: dict[str, timing.Timing], common: dict[str, object]
) -> list[dict[str, object]]:
    """Turns the timings of candidates into records, in their order."""
    floor, gaussian = timings[FLOOR].median, timings[GAUSSIAN].median
    return [
        {
            "method": name,
            **common,
            "seconds_median": t.median,
            "seconds_min": t.smallest,
            "seconds_spread": t.spread,
            "compile_seconds": t.first - t.median,
            "over_floor": t.median / floor,
            "over_gaussian": t.median / gaussian,
        }
        for name, t in timings.items()
    ]


def run(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Runs every size; prints a table as it goes."""
    environment = timing.environment(arguments, "scipy", "torch", "geomstats", "tfp-nightly")
    available = dict(PEERS)
    if arguments.no_peers:
        available = {}
    records = []
    for n, d in itertools.product(arguments.n, arguments.d):
        for grad, parameters in ((False, "shared"), (False, "per_row"), (True, "per_row")):
            kappa = arguments.kappa
            if grad:
                candidates = our_gradients(n, d, kappa)
            else:
                candidates = our_candidates(n, d, kappa, parameters)
            if parameters == "shared":
                for name, make in list(available.items()):
                    try:
                        candidates |= make(n, d, kappa)
                    except (ImportError, AttributeError, TypeError) as error:
                        timing.name_missing(name, error)
                        del available[name]
            common = {"n": n, "d": d, "kappa": kappa, "grad": grad, "parameters": parameters}
            rows = records_of(timing.interleaved(candidates, arguments.repeats), common)
            print(f"\nn={n} d={d} kappa={kappa} {parameters}{' forward+backward' if grad else ''}")
            print(f"{'method':>14} {'ms':>9} {'spread':>8} {'/normal':>8} {'/gaussian':>9}")
            for row in rows:
                print(
                    f"{row['method']:>14} {1e3 * row['seconds_median']:9.3f} "
                    f"{1e3 * row['seconds_spread']:8.3f} {row['over_floor']:8.2f} "
                    f"{row['over_gaussian']:9.2f}"
                )
            records += [row | environment for row in rows]
    return records


def plot(path: Path, records: list[dict]) -> None:
    """Draws time over the floor against d and against n."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
    forward = [r for r in records if not r["grad"] and r["parameters"] == "shared"]
    for panel, variable, other in ((panels[0], "d", "n"), (panels[1], "n", "d")):
        values = sorted({r[other] for r in forward})
        fixed = values[-1] if other == "n" else values[len(values) // 2]
        for method in dict.fromkeys(r["method"] for r in forward):
            points = sorted(
                (r[variable], r["over_floor"])
                for r in forward
                if r["method"] == method and r[other] == fixed
            )
            panel.plot(*zip(*points, strict=True), marker="o", label=method)
        panel.set(xscale="log", yscale="log", xlabel=variable, title=f"{other} = {fixed}")
    panels[0].set_ylabel("time over jax.random.normal")
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside right center")
    figure.savefig(path)


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    timing.add_arguments(parser)
    parser.add_argument("--n", type=int, nargs="+", default=[20, 1000, 100_000])
    parser.add_argument("--d", type=int, nargs="+", default=[5, 25, 50, 200])
    parser.add_argument("--kappa", type=float, default=80.0)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--plot", type=timing.new_file, help="write the plot to this file")
    arguments = timing.parse(parser, n=[50], d=[8], repeats=3)
    timing.refuse_busy_machine(arguments)
    records = run(arguments)
    timing.write_records(arguments.json, records)
    if arguments.plot is not None:
        plot(arguments.plot, records)


if __name__ == "__main__":
    main()
