"""The error table of docs/vmf.md: largest errors against mpmath, per dimension and float type.

    python benchmarks/accuracy.py --write docs/vmf.md

No timing, so a busy machine does not matter. Prints the table; --write puts it into the page.
"""

import argparse
import datetime
import platform
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from special import error_of, our_functions

BEGIN, END = "<!-- accuracy: begin -->", "<!-- accuracy: end -->"
FUNCTIONS = ("kl_to_uniform", "kl_derivative", "bessel_ratio", "log_iv")


def table(dimensions: list[int], random_points: int) -> str:
    """Measures and formats; kappa are half decades and log-uniform random points, 1e-4 to 1e6."""
    lines = [
        "| d | type | KL | dKL/dkappa | A | log I (in eps) |",
        "|---|---|---|---|---|---|",
    ]
    for d in dimensions:
        random = 10.0 ** np.random.default_rng(d).uniform(-4, 6, random_points)
        points = np.concatenate([10.0 ** np.arange(-4, 6.01, 0.5), random])
        for dtype in ("float32", "float64"):
            with jax.enable_x64(dtype == "float64"):
                kappa = points.astype(dtype)
                functions = our_functions(d)
                cells = []
                for function in FUNCTIONS:
                    values = functions[function](jnp.asarray(kappa))
                    if function == "kl_derivative":
                        values = values[1]
                    error = error_of(function, d, kappa, values)
                    if function == "log_iv":
                        cells.append(f"{error / np.finfo(dtype).eps:.1f}")
                    else:
                        cells.append(f"{error:.1e}")
            lines.append(f"| {d} | {dtype} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--d", type=int, nargs="+", default=[2, 3, 4, 5, 8, 16, 25, 50, 100, 200, 1000, 4096]
    )
    parser.add_argument("--random-points", type=int, default=200)
    parser.add_argument("--write", type=Path, help="the page whose table is replaced")
    arguments = parser.parse_args()
    if arguments.write is not None:
        # Before anything is measured: a page without a place for the table is of no use.
        before, rest = arguments.write.read_text().split(BEGIN)
        _, after = rest.split(END)
    text = table(arguments.d, arguments.random_points)
    print(text)
    if arguments.write is not None:
        stamp = (
            f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {platform.machine()} CPU, "
            f"jax {jax.__version__}, {arguments.random_points} random points and half decades"
        )
        arguments.write.write_text(f"{before}{BEGIN}\n{stamp}\n\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
