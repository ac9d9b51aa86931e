"""The kinds of latent and of prior: two tables. Importing this loads neither JAX nor Flax.

A latent is a module `(hidden, hyper) -> LatentPair(posterior, prior)`, two NumPyro distributions;
the contract is in `latent.py`. A new kind is a file with a function `build(settings, prior)` and
one line here.
"""

from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from spherical_vae.system.registry import Registry, part


@dataclass(frozen=True)
class LatentKind:
    """Description of a kind of latent, known before any module is loaded.

    Attributes:
      module: with the function `build(settings, prior) -> Latent`.
      label: in tables.
      spherical: whether z lies on spheres, which need two coordinates at least.
      concentration: the meaning of `config.latent.concentration`: "" if it is not read, "fixed" for
        the value of all examples, "start" for the initial value of a learned one.
      several_spheres: whether it reads `config.latent.spheres`.
      reads: optional keys of the configuration that it reads; setting another one is an error.
    """

    module: str
    label: str
    spherical: bool = False
    concentration: str = ""
    several_spheres: bool = False
    reads: frozenset[str] = frozenset()


_RANGE = frozenset({"latent.range"})

LATENTS = Registry(
    {
        "none": LatentKind(f"{__name__}.none", "RNNLM"),
        "gaussian": LatentKind(f"{__name__}.gaussian", "Gaussian"),
        # The range is that of the components of a learned prior.
        "vmf": LatentKind(f"{__name__}.vmf", "vMF", True, "fixed", reads=_RANGE),
        "learned_vmf": LatentKind(
            f"{__name__}.learned_vmf",
            "vMF, learned kappa",
            spherical=True,
            concentration="start",
            reads=_RANGE | {"latent.concentration_gradient"},
        ),
        "product_vmf": LatentKind(
            f"{__name__}.product_vmf",
            "product of vMF",
            spherical=True,
            concentration="start",
            several_spheres=True,
            reads=_RANGE | {"latent.concentrations"},
        ),
        "power_spherical": LatentKind(
            f"{__name__}.power_spherical", "power spherical", True, "start", reads=_RANGE
        ),
    }
)


@dataclass(frozen=True)
class PriorKind:
    """A kind of prior.

    Attributes:
      module: with a class `Prior(components)`.
    """

    module: str


PRIORS = Registry(
    {name: PriorKind(f"{__name__}.priors.{name}") for name in ("standard", "mixture", "vamp")}
)


def build_latent(latent: ConfigDict, prior: ConfigDict) -> Any:
    """Returns the module that `config.latent` and `config.prior` describe (already validated)."""
    build = part(LATENTS[latent.kind].module, "build")
    return build(latent, part(PRIORS[prior.kind].module, "Prior")(prior.components))
