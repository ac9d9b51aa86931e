"""log I_v(x) to 30 digits in Python's decimal arithmetic, for building tables only.

Near the zero of log I_v float64 would leave no digits of it to tabulate. Plain series; slow.
"""

from collections.abc import Callable
from decimal import Decimal, localcontext

# Working digits; results are good to about 10 fewer than this.
_DIGITS = 45
_LOG_TWO_PI = Decimal("1.8378770664093454835606594728112352797227949472755668")
_PI = Decimal("3.1415926535897932384626433832795028841971693993751058")
# B_2k / (2 k (2 k - 1)), k = 1, 2, ..: Stirling's series for log Gamma.
_STIRLING = (
    (1, 12), (-1, 360), (1, 1260), (-1, 1680), (1, 1188), (-691, 360360), (1, 156),
    (-3617, 122400), (43867, 244188), (-174611, 125400), (77683, 5796), (-236364091, 1506960),
    (657931, 300),
)  # fmt: skip


def log_gamma(x: Decimal) -> Decimal:
    """Computes log Gamma(x) for x > 0."""
    with localcontext() as context:
        context.prec = _DIGITS
        product = Decimal(1)
        while x < 60:
            product *= x
            x += 1
        tail = sum(Decimal(p) / q / x ** (2 * k + 1) for k, (p, q) in enumerate(_STIRLING))
        return (x - Decimal("0.5")) * x.ln() - x + _LOG_TWO_PI / 2 + tail - product.ln()


def log_iv(order: Decimal, x: Decimal) -> Decimal:
    """Computes log I_order(x) for order >= 0 and x > 0 from the power series."""
    with localcontext() as context:
        context.prec = _DIGITS
        quarter = x * x / 4
        term = total = Decimal(1)
        smallest = Decimal(10) ** -_DIGITS
        k = 0
        while term > smallest * total:
            k += 1
            term *= quarter / (k * (order + k))
            total += term
        return order * (x / 2).ln() - log_gamma(order + 1) + total.ln()


def log_iv_zero(order: Decimal, start: Decimal) -> Decimal:
    """Solves log I_order(x) = 0 by secant steps, good to 30 digits."""
    with localcontext() as context:
        context.prec = _DIGITS
        points = [start, start * Decimal("1.01")]
        values = [log_iv(order, x) for x in points]
        while abs(values[-1]) > Decimal(10) ** -32:
            slope = (values[-1] - values[-2]) / (points[-1] - points[-2])
            points.append(points[-1] - values[-1] / slope)
            values.append(log_iv(order, points[-1]))
        return points[-1]


def _cosine(angle: Decimal) -> Decimal:
    term = total = Decimal(1)
    k = 0
    while abs(term) > Decimal(10) ** -_DIGITS:
        k += 2
        term *= -angle * angle / (k * (k - 1))
        total += term
    return total


def chebyshev_coefficients(
    function: Callable[[Decimal], Decimal], low: Decimal, high: Decimal, count: int
) -> tuple[float, ...]:
    """Interpolates a function on [low, high]; the coefficients are rounded once, at the end.

    In float64 the rounding of values and of the transform would cost 2 units in the last place.
    """
    with localcontext() as context:
        context.prec = _DIGITS
        sums = [Decimal(0)] * count
        for j in range(count):
            node = _cosine(_PI * (2 * j + 1) / (2 * count))
            value = function(low + (high - low) * (1 + node) / 2)
            before, polynomial = node, Decimal(1)  # T_-1 = T_1
            for k in range(count):
                sums[k] += value * polynomial
                before, polynomial = polynomial, 2 * node * polynomial - before
        return tuple(float(total * (1 if k == 0 else 2) / count) for k, total in enumerate(sums))
