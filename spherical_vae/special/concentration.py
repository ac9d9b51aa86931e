"""Closed forms of the vMF distribution that depend on dimension and concentration only.

All of them are evaluated in w0 (see `cosine_law.py`), without a Bessel function at run time and
without a difference of large numbers:

    A    = w0 (1 - (1 - w0^2) H(w0))           dA/dkappa  = (1 - w0^2)^2 / (m (1 + w0^2)) G(w0)
    KL   = (m / 2) log1p(F(w0) kappa w0 / m)   dKL/dkappa = kappa dA/dkappa

`docs/vmf.md` derives them. Concentrations are >= 0, inf included; a negative one gives NaN. Results
are right up to a quarter of the largest number of their type, and at inf.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from spherical_vae.special.arguments import (
    Numbers,
    as_float,
    check_dimension,
    not_negative,
    working_dtype,
)
from spherical_vae.special.chebyshev import evaluate_series
from spherical_vae.special.cosine_law import concentration_series
from spherical_vae.special.derivatives import Function, with_derivative


def mode(dimension: float | int, concentration: Array) -> tuple[Array, Array]:
    """Maps the concentration in [0, inf) to w0 in [0, 1), and 1 - w0^2 without cancellation."""
    unbounded = not_negative(concentration) * (2.0 / (dimension - 1))
    # Beyond the clip w0 is 1 to rounding and the square would overflow.
    largest = 1e18 if unbounded.dtype == jnp.float32 else 1e150
    ratio = jnp.minimum(unbounded, largest)
    denominator = 1.0 + jnp.sqrt(1.0 + ratio * ratio)
    gap = 2.0 / jnp.where(unbounded > largest, unbounded, denominator)
    return ratio / denominator, gap


def _apply(core: Function, dimension: int, x: Numbers, name: str = "concentration") -> Array:
    """Calls `core` with the dimension checked and half precision widened to float32."""
    dimension = check_dimension(dimension)
    array = as_float(x, name)
    return core(dimension, array.astype(working_dtype(array.dtype))).astype(array.dtype)


def log_sphere_area(dimension: int) -> float:
    """Computes the log area of the unit sphere in R^d, log(2 pi^(d/2) / Gamma(d/2)).

    Args:
        dimension: d >= 1, the dimension of the space around the sphere.

    Returns:
        Nats, a Python float.

    Raises:
        UserError: `dimension` is not an integer, or below 1.
    """
    half = check_dimension(dimension, smallest=1) / 2
    return math.log(2.0) + half * math.log(math.pi) - math.lgamma(half)


@partial(jax.jit, static_argnums=0)
def _ratio_derivative(dimension: float | int, x: Array) -> Array:
    w0, gap = mode(dimension, x)
    slope = evaluate_series(concentration_series(float(dimension)).ratio_slope, w0)
    return gap * gap / ((dimension - 1) * (1.0 + w0 * w0)) * slope


@partial(jax.jit, static_argnums=0)
def _kl_derivative(dimension: int, x: Array) -> Array:
    w0, gap = mode(dimension, x)
    slope = evaluate_series(concentration_series(float(dimension)).ratio_slope, w0)
    return w0 * gap / (1.0 + w0 * w0) * slope


@with_derivative(_ratio_derivative)
def ratio_core(dimension: float | int, x: Array) -> Array:
    """Computes A_d for any real d >= 2, static; arguments are not checked."""
    w0, gap = mode(dimension, x)
    return w0 * (
        1.0 - gap * evaluate_series(concentration_series(float(dimension)).ratio_defect, w0)
    )


@with_derivative(lambda dimension, x: -_ratio_derivative(dimension, x))
def _ratio_complement(dimension: int, x: Array) -> Array:
    w0, gap = mode(dimension, x)
    defect = evaluate_series(concentration_series(float(dimension)).ratio_defect, w0)
    return gap * (1.0 / (1.0 + w0) + w0 * defect)


@with_derivative(_kl_derivative)
def _kl(dimension: int, x: Array) -> Array:
    m = dimension - 1
    w0, _ = mode(dimension, x)
    factor = evaluate_series(concentration_series(float(dimension)).kl_factor, w0)
    return (0.5 * m) * jnp.log1p(factor * w0 * (x / m))


@with_derivative(_ratio_complement)
def _log_density_at_mode(dimension: int, x: Array) -> Array:
    # KL - log area + kappa (1 - A), with kappa (1 - w0^2) = m w0.
    w0, _ = mode(dimension, x)
    defect = evaluate_series(concentration_series(float(dimension)).ratio_defect, w0)
    excess = (dimension - 1) * w0 * (1.0 / (1.0 + w0) + w0 * defect)
    return _kl(dimension, x) + (excess - log_sphere_area(dimension))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
@partial(jax.jit, static_argnums=0)
def inverse_of_pair(dimension: int, target: Array, complement: Array) -> Array:
    """Computes kappa from A and 1 - A, each as accurate as it is known; unchecked.

    The derivative is by the smaller of the two, of which the other is a function.
    """
    m = dimension - 1
    series = concentration_series(float(dimension))
    target = jnp.where((target >= 0) & (target <= 1), target, jnp.nan)
    # Banerjee et al. (2005), exact at both ends, turned into w0; then Newton on A(w0) = target,
    # where A is nearly the identity.
    square = target * target
    start = target * (dimension - square)
    w0 = 2.0 * start / (m * (1 - square) + jnp.sqrt((m * (1 - square)) ** 2 + 4.0 * start**2))

    def newton(_: Array | int, w0: Array) -> Array:
        defect = evaluate_series(series.ratio_defect, w0)
        slope = evaluate_series(series.ratio_slope, w0)
        # A - target with the leading parts of both subtracted first: (w0 - target) is exact.
        error = (w0 - target) - w0 * (1.0 - w0) * (1.0 + w0) * defect
        return jnp.clip(w0 - error / slope, 0.0, 1.0)

    # A loop, because the body is long and would be compiled for each step otherwise.
    w0 = jax.lax.fori_loop(0, 3 if target.dtype == jnp.float32 else 4, newton, w0)
    # 1 - w0 from 1 - A, so that it keeps its relative accuracy as the target approaches 1.
    defect = evaluate_series(series.ratio_defect, w0)
    return m * w0 * (1.0 + w0 * (1.0 + w0) * defect) / (complement * (1.0 + w0))


@inverse_of_pair.defjvp
def _inverse_of_pair_jvp(
    dimension: int, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    concentration = inverse_of_pair(dimension, *primals)
    tangent = jnp.where(primals[0] < 0.5, tangents[0], -tangents[1])
    return concentration, tangent / _ratio_derivative(dimension, concentration)


@partial(jax.jit, static_argnums=0)
def _inverse_ratio(dimension: int, target: Array) -> Array:
    return inverse_of_pair(dimension, target, 1.0 - target)


@partial(jax.jit, static_argnums=0)
def _normalizer(dimension: int, x: Array) -> Array:
    infinite = x == jnp.inf
    finite = jnp.where(infinite, 0.0, x)
    return jnp.where(infinite, -jnp.inf, _log_density_at_mode(dimension, finite) - finite)


@partial(jax.jit, static_argnums=0)
def _entropy(dimension: int, x: Array) -> Array:
    return log_sphere_area(dimension) - _kl(dimension, x)


def bessel_ratio(dimension: int, concentration: Numbers) -> Float[Array, "*batch"]:
    """Computes A_d(kappa) = I_(d/2)(kappa) / I_(d/2-1)(kappa), the mean resultant length.

    Args:
        dimension: d >= 2, static.
        concentration: kappa in [0, inf], any shape.

    Returns:
        E[mean_direction . z] in [0, 1], same shape.

    Raises:
        UserError: `dimension` is not a static integer >= 2, or the array is not of real numbers.

    Gradients: all orders, by closed forms.
    Source: Mardia and Jupp (2000), Directional Statistics, (9.3.7); evaluated as in docs/vmf.md.
    """
    return _apply(ratio_core, dimension, concentration)


def bessel_ratio_complement(dimension: int, concentration: Numbers) -> Float[Array, "*batch"]:
    """Computes 1 - A_d(kappa), accurately also where A_d(kappa) rounds to 1.

    Args:
        dimension: d >= 2, static.
        concentration: kappa in [0, inf], any shape.

    Returns:
        E[1 - mean_direction . z] in [0, 1], same shape.

    Raises:
        UserError: `dimension` is not a static integer >= 2, or the array is not of real numbers.

    Gradients: all orders, by closed forms.
    """
    return _apply(_ratio_complement, dimension, concentration)


def bessel_ratio_derivative(dimension: int, concentration: Numbers) -> Float[Array, "*batch"]:
    """Computes dA_d/dkappa, which is the variance of the cosine mean_direction . z.

    Args:
        dimension: d >= 2, static.
        concentration: kappa in [0, inf], any shape.

    Returns:
        Var[mean_direction . z] >= 0, same shape; it equals the Fisher information of kappa.

    Raises:
        UserError: `dimension` is not a static integer >= 2, or the array is not of real numbers.

    Gradients: all orders, by derivatives of the Chebyshev series.
    """
    return _apply(_ratio_derivative, dimension, concentration)


def inverse_bessel_ratio(dimension: int, mean_resultant_length: Numbers) -> Float[Array, "*batch"]:
    """Computes the concentration whose mean resultant length is given: A_d^-1.

    This is the maximum-likelihood estimate of the concentration, the argument being the length of
    the mean of the observed unit vectors.

    Args:
        dimension: d >= 2, static.
        mean_resultant_length: in [0, 1], any shape.

    Returns:
        kappa >= 0, same shape; inf at exactly 1, NaN outside [0, 1].

    Raises:
        UserError: `dimension` is not a static integer >= 2, or the array is not of real numbers.

    Gradients: all orders, implicit: 1 / A_d'(kappa).
    Source: start from Banerjee et al. (2005), JMLR 6, (4.4); Newton steps in w0 of docs/vmf.md.
    """
    return _apply(_inverse_ratio, dimension, mean_resultant_length, "mean_resultant_length")


def kl_to_uniform(dimension: int, concentration: Numbers) -> Float[Array, "*batch"]:
    """Computes KL(vMF(., kappa) || uniform on the sphere) in nats.

    It depends on the dimension and the concentration only: with a fixed concentration it is a
    constant, which is what keeps the posterior of the spherical VAE from collapsing.

    Args:
        dimension: d >= 2, static.
        concentration: kappa in [0, inf], any shape.

    Returns:
        Nats >= 0, same shape; 0 at kappa = 0.

    Raises:
        UserError: `dimension` is not a static integer >= 2, or the array is not of real numbers.

    Gradients: all orders; the first is kappa A_d'(kappa) in a form without cancellation.
    Source: Xu and Durrett (2018), section 3, in the exact form; evaluated as in docs/vmf.md.
    """
    return _apply(_kl, dimension, concentration)


def entropy(dimension: int, concentration: Numbers) -> Float[Array, "*batch"]:
    """Computes the differential entropy of vMF(., kappa) with respect to surface area.

    Args:
        dimension: d >= 2, static.
        concentration: kappa in [0, inf], any shape.

    Returns:
        Nats, same shape; log area of the sphere at kappa = 0, negative at large kappa.

    Raises:
        UserError: `dimension` is not a static integer >= 2, or the array is not of real numbers.

    Gradients: all orders.
    """
    return _apply(_entropy, dimension, concentration)


def log_density_at_mode(dimension: int, concentration: Numbers) -> Float[Array, "*batch"]:
    """Computes log C_d(kappa) + kappa, the log density at z = mean_direction.

    This is the part of the log density to build on: log p(z) = log_density_at_mode -
    kappa |z - mean_direction|^2 / 2 subtracts nothing large, unlike log C_d(kappa) + kappa mu.z.

    Args:
        dimension: d >= 2, static.
        concentration: kappa in [0, inf], any shape.

    Returns:
        Nats, same shape.

    Raises:
        UserError: `dimension` is not a static integer >= 2, or the array is not of real numbers.

    Gradients: all orders; the first is 1 - A_d(kappa).
    """
    return _apply(_log_density_at_mode, dimension, concentration)


def log_normalizer(dimension: int, concentration: Numbers) -> Float[Array, "*batch"]:
    """Computes log C_d(kappa), so that log p(z) = log C_d(kappa) + kappa mean_direction . z.

    Adding the two parts cancels at large kappa; `log_density_at_mode` does not.

    Args:
        dimension: d >= 2, static.
        concentration: kappa in [0, inf], any shape.

    Returns:
        Nats, same shape.

    Raises:
        UserError: `dimension` is not a static integer >= 2, or the array is not of real numbers.

    Gradients: all orders; the first is -A_d(kappa).
    """
    return _apply(_normalizer, dimension, concentration)
