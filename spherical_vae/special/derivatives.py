"""Functions of one array with a derivative in closed form."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jaxtyping import Array

# Of a static parameter and an array.
Function = Callable[[Any, Array], Array]


def with_derivative(derivative: Function) -> Callable[[Function], Function]:
    """Decorator: compiles `function(parameter, x)`, whose derivative in x is `derivative`."""

    def decorate(function: Function) -> Function:
        differentiable = partial(jax.custom_jvp, nondiff_argnums=(0,))(
            partial(jax.jit, static_argnums=0)(function)
        )

        @differentiable.defjvp
        def jvp(
            parameter: Any, primals: tuple[Array], tangents: tuple[Array]
        ) -> tuple[Array, Array]:
            value = differentiable(parameter, *primals)
            return value, derivative(parameter, *primals) * tangents[0]

        return differentiable

    return decorate
