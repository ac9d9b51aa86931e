"""Time and error of the special functions, ours and others'.

    python benchmarks/special.py --json special.json

Errors are relative (log_iv: relative to max(1, |value|)), against mpmath with 50 digits, over
concentrations from 1e-3 to 1e6. Peers are optional; a missing one is named on standard error.
"""

import argparse
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import timing

from spherical_vae import special

FUNCTIONS = ("kl_to_uniform", "kl_derivative", "bessel_ratio", "log_iv")
GRID = 10.0 ** np.arange(-3, 6.01, 0.25)

# One function of a vector of concentrations, and the array type it wants.
Function = Callable[[object], object]


def exact(function: str, d: int, kappa: float) -> Any:
    """Computes the reference from the definitions, by power series of positive terms."""
    # Here, since jobs on an accelerator import this module and need no reference.
    import mpmath as mp

    with mp.workdps(70):
        k, dimension = mp.mpf(kappa), mp.mpf(d)
        low = mp.hyp0f1(dimension / 2, k * k / 4, maxterms=10**7)
        if function == "log_iv":
            v = dimension / 2 - 1
            return v * mp.log(k / 2) - mp.loggamma(v + 1) + mp.log(low)
        ratio = k / dimension * mp.hyp0f1(dimension / 2 + 1, k * k / 4, maxterms=10**7) / low
        if function == "bessel_ratio":
            return ratio
        if function == "kl_to_uniform":
            return k * ratio - mp.log(low)
        return k * (1 - ratio**2) - (d - 1) * ratio


def error_of(function: str, d: int, points: np.ndarray, values: object) -> float:
    """Returns the largest error; inf where a value is not finite."""
    largest = 0.0
    for point, value in zip(points, np.asarray(values, np.float64), strict=True):
        if not np.isfinite(value):
            return float("inf")
        reference = exact(function, d, float(point))
        scale = max(1, abs(reference)) if function == "log_iv" else abs(reference)
        largest = max(largest, float(abs(float(value) - reference) / scale))
    return largest


def with_derivative(function: Callable) -> Function:
    """Returns the value and the derivative in each concentration, compiled."""
    return jax.jit(jax.vmap(jax.value_and_grad(function)))


def our_functions(d: int) -> dict[str, Function]:
    """Ours; the derivative of the KL is timed together with its value."""
    return {
        "kl_to_uniform": jax.jit(lambda x: special.kl_to_uniform(d, x)),
        "kl_derivative": with_derivative(lambda x: special.kl_to_uniform(d, x)),
        "bessel_ratio": jax.jit(lambda x: special.bessel_ratio(d, x)),
        "log_iv": jax.jit(lambda x: special.log_iv(d / 2 - 1, x)),
    }


def tfp_functions(d: int) -> dict[str, Function]:
    """TensorFlow Probability on JAX: its log-space Bessel functions, and the KL made of them."""
    from tensorflow_probability.substrates import jax as tfp

    order = d / 2 - 1

    def log_iv(x: jax.Array) -> jax.Array:
        return tfp.math.log_bessel_ive(jnp.asarray(order, x.dtype), x) + x

    def ratio(x: jax.Array) -> jax.Array:
        return tfp.math.bessel_iv_ratio(jnp.asarray(order + 1, x.dtype), x)

    def kl(x: jax.Array) -> jax.Array:
        normalizer = order * jnp.log(x) - d / 2 * jnp.log(2 * jnp.pi) - log_iv(x)
        return x * ratio(x) + normalizer + special.log_sphere_area(d)

    return {
        "kl_to_uniform": jax.jit(kl),
        "kl_derivative": with_derivative(kl),
        "bessel_ratio": jax.jit(ratio),
        "log_iv": jax.jit(log_iv),
    }


def scipy_functions(d: int) -> dict[str, Function]:
    """scipy.special.ive, which is double precision or single by the type of its argument."""
    from scipy.special import ive

    order = d / 2 - 1

    def ratio(x: np.ndarray) -> np.ndarray:
        return ive(x.dtype.type(order + 1), x) / ive(x.dtype.type(order), x)

    def log_iv(x: np.ndarray) -> np.ndarray:
        return np.log(ive(x.dtype.type(order), x)) + x

    def kl(x: np.ndarray) -> np.ndarray:
        normalizer = order * np.log(x) - d / 2 * np.log(2 * np.pi) - log_iv(x)
        return x * ratio(x) + normalizer + special.log_sphere_area(d)

    def quiet(function: Callable) -> Function:
        def call(x: object) -> np.ndarray:
            with np.errstate(all="ignore"):
                return function(np.asarray(x))

        return call

    return {"kl_to_uniform": quiet(kl), "bessel_ratio": quiet(ratio), "log_iv": quiet(log_iv)}


METHODS = {"spherical_vae": our_functions, "tfp": tfp_functions, "scipy": scipy_functions}


def run(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Runs every dimension and type; prints a table."""
    environment = timing.environment(arguments, "scipy", "tfp-nightly")
    available = dict(METHODS)
    records = []
    print(f"{'function':>14} {'d':>5} {'dtype':>8} {'method':>14} {'ns':>9} {'error':>9}")
    for d, dtype in itertools.product(arguments.d, ("float32", "float64")):
        with jax.enable_x64(dtype == "float64"):
            grid = GRID.astype(dtype)
            many = 10.0 ** np.random.default_rng(0).uniform(-3, 6, arguments.elements)
            points = jnp.asarray(many.astype(dtype))
            tables = {}
            for name, make in list(available.items()):
                try:
                    tables[name] = make(d)
                except (ImportError, AttributeError) as error:
                    timing.name_missing(name, error)
                    del available[name]
            for function in FUNCTIONS:
                rows = {
                    name: table[function] for name, table in tables.items() if function in table
                }
                timings = timing.interleaved(
                    {
                        name: (lambda f=f, x=points: jax.block_until_ready(f(x)))
                        for name, f in rows.items()
                    },
                    arguments.repeats,
                )
                for name, f in rows.items():
                    values = f(jnp.asarray(grid))
                    if function == "kl_derivative":
                        values = values[1]
                    record = {
                        "method": name,
                        "function": function,
                        "d": d,
                        "dtype": dtype,
                        "ns_per_element": 1e9 * timings[name].median / arguments.elements,
                        "compile_seconds": timings[name].first - timings[name].median,
                        "max_relative_error": error_of(function, d, grid, values),
                    }
                    print(
                        f"{function:>14} {d:5d} {dtype:>8} {name:>14} "
                        f"{record['ns_per_element']:9.2f} {record['max_relative_error']:9.1e}"
                    )
                    records.append(record | environment)
    return records


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    timing.add_arguments(parser)
    parser.add_argument("--d", type=int, nargs="+", default=[2, 5, 50, 1000])
    parser.add_argument("--elements", type=int, default=100_000)
    arguments = timing.parse(parser, d=[5], elements=1000, repeats=3)
    timing.refuse_busy_machine(arguments)
    timing.write_records(arguments.json, run(arguments))


if __name__ == "__main__":
    main()
