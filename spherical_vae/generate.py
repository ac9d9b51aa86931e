"""`python -m spherical_vae.generate`: text from a trained model, on standard output."""

import math

from spherical_vae.command_line import CommandFlags
from spherical_vae.errors import UserError

flags = CommandFlags(__name__, __doc__)
flags.define_places()
WORKDIR = flags.DEFINE_string("workdir", None, "the run to write from", required=True)
REPLICA = flags.DEFINE_string("replica", None, "of a sweep, by its name")
MODE = flags.DEFINE_enum(
    "mode", "prior", ["prior", "reconstruct", "interpolate"], "where the codes come from"
)
COUNT = flags.DEFINE_integer("count", 5, "texts, or points of the interpolation", lower_bound=1)
TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "of the words of sentences", lower_bound=0.0)
GREEDY = flags.DEFINE_bool("greedy", False, "take the likeliest word each time; temperature 0")
SEED = flags.DEFINE_integer("seed", 0, "of codes and words", lower_bound=0, upper_bound=2**32 - 1)
LABEL = flags.DEFINE_integer("label", None, "label, from 1, for models that use labels")
SPLIT = flags.DEFINE_enum("split", "test", ["train", "valid", "test"], "of the given examples")


@flags.command
def main() -> None:
    """Prints texts, one a line; reconstructions as pairs of lines."""
    if not math.isfinite(TEMPERATURE.value):
        raise UserError(f"--temperature={TEMPERATURE.value}: a finite number >= 0 is allowed")
    import jax.numpy as jnp

    from spherical_vae import texts
    from spherical_vae.keys import Purpose, root_key
    from spherical_vae.trained import load_trained

    trained = load_trained(WORKDIR.value, REPLICA.value, flags.given_places())
    classes = trained.config.data.label_classes if trained.config.label_embedding_size else 0
    label = _label(classes)
    common = (
        trained,
        root_key(SEED.value, Purpose.GENERATE),
        COUNT.value,
        jnp.float32(0.0 if GREEDY.value else TEMPERATURE.value),
    )
    if MODE.value == "prior":
        print("\n".join(texts.prior_texts(*common, label=label)))
    elif MODE.value == "reconstruct":
        for original, written in texts.reconstruction_texts(*common, split=SPLIT.value):
            print(f"[{original}]\n{written}")
    else:
        print("\n".join(texts.interpolation_texts(*common, split=SPLIT.value)))


def _label(classes: int) -> int:
    """Returns the label from 0."""
    if MODE.value != "prior" or not classes:
        if LABEL.value is not None:
            reason = "the model uses no labels" if not classes else "examples carry their own"
            raise UserError(f"--label={LABEL.value}: not with --mode={MODE.value}; {reason}")
        return 0
    if LABEL.value is None or not 1 <= LABEL.value <= classes:
        raise UserError(f"--label={LABEL.value}: this model needs a label in 1..{classes}")
    return LABEL.value - 1


if __name__ == "__main__":
    main.run()
