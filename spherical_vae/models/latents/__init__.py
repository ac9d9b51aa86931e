"""The kinds of latent and of prior: two tables. Importing this loads neither JAX nor Flax.

A latent is a module `(hidden, hyper) -> LatentPair(posterior, prior)`, two NumPyro distributions;
the contract is in `latent.py`. A new kind is a file with a function `build(settings, prior)` and
one line here.
"""

import importlib
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict


@dataclass(frozen=True)
class Kind:
    """What must be known of a kind of latent before any module is loaded.

    Attributes:
      module: in this folder, with `build(settings, prior) -> Latent`.
      label: in tables.
      spherical: whether z lies on spheres, which need two coordinates at least.
      concentration: what `config.latent.concentration` means: "" nothing, "fixed" the value of all
        examples, "start" where training of a learned value in an open range begins.
    """

    module: str
    label: str
    spherical: bool = False
    concentration: str = ""


KINDS = {
    "none": Kind("none", "RNNLM"),
    "gaussian": Kind("gaussian", "Gaussian"),
    "vmf": Kind("vmf", "vMF", spherical=True, concentration="fixed"),
    "learned_vmf": Kind("learned_vmf", "vMF, learned kappa", True, "start"),
    "product_vmf": Kind("product_vmf", "product of vMF", True, "start"),
    "power_spherical": Kind("power_spherical", "power spherical", True, "start"),
}

# By name: the module in `priors/`, with a class `Prior(components)`.
PRIORS = ("standard", "mixture", "vamp")


def build_latent(latent: ConfigDict, prior: ConfigDict) -> Any:
    """Returns the module that `config.latent` and `config.prior` describe (already validated)."""
    kind = importlib.import_module(f"{__name__}.{KINDS[latent.kind].module}")
    learned = importlib.import_module(f"{__name__}.priors.{prior.kind}")
    return kind.build(latent, learned.Prior(prior.components))
