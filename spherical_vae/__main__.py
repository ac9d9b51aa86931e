"""`python -m spherical_vae`: prints the version and the commands."""

import sys

from spherical_vae import __version__

_COMMANDS = {
    "train": "trains a model, or its settings side by side, and compares it with baselines",
    "evaluate": "bounds, perplexities and use of the latent of a trained model",
    "generate": "texts from the prior, reconstructions, interpolations",
    "data": "lists, prepares, counts and verifies corpora",
}

if __name__ == "__main__":
    if sys.argv[1:] and not sys.argv[1].startswith("-"):
        sys.exit(f"error: {sys.argv[1]!r} given; commands are run as python -m spherical_vae.train")
    print(f"spherical_vae {__version__}; python -m spherical_vae.COMMAND --help, of the commands:")
    for name, what in _COMMANDS.items():
        print(f"  {name:10s}{what}")
