"""`python -m spherical_vae`: prints the version and the commands."""

from spherical_vae import __version__

_COMMANDS = {
    "train": "trains a model, or its settings side by side, and compares it with baselines",
    "evaluate": "bounds, perplexities and use of the latent of a trained model",
    "generate": "texts from the prior, reconstructions, interpolations",
    "data": "lists, prepares, counts and verifies corpora",
}

if __name__ == "__main__":
    print(f"spherical_vae {__version__}; python -m spherical_vae.COMMAND --help, of the commands:")
    for name, what in _COMMANDS.items():
        print(f"  {name:10s}{what}")
