"""von Mises-Fisher distributions and variational autoencoders for text, in JAX.

Nothing is imported here: `spherical_vae.distributions` stays usable without Flax, Orbax or corpora.
"""

__version__ = "0.1.0"
