"""`python -m spherical_vae.generate`: text from a trained model, on standard output."""

import math
import sys

from spherical_vae.config.command_line import CommandFlags
from spherical_vae.data.files import printable
from spherical_vae.system.errors import UserError

flags = CommandFlags(__name__, __doc__)
flags.define_places()
WORKDIR = flags.DEFINE_string("workdir", None, "the run to write from", required=True)
REPLICA = flags.DEFINE_string("replica", None, "of a sweep, by its name")
MODE = flags.DEFINE_enum(
    "mode",
    None,
    ["prior", "reconstruct", "interpolate"],
    "where the codes come from; default: prior, with one --text reconstruct, with two interpolate",
)
TEXT = flags.DEFINE_multi_string(
    "text", None, "a text to reconstruct; given twice, to walk from the first to the second"
)
COUNT = flags.DEFINE_integer("count", 5, "texts, or points of the interpolation", lower_bound=1)
TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "of the words of sentences", lower_bound=0.0)
TOP_P = flags.DEFINE_float(
    "top_p", 1.0, "sample among the likeliest words of this total probability; in (0, 1]"
)
GREEDY = flags.DEFINE_bool("greedy", False, "take the likeliest word each time; temperature 0")
UNKNOWN = flags.DEFINE_bool("unknown", False, "let the unknown word, <unk>, be written")
SEED = flags.DEFINE_integer("seed", 0, "of codes and words", lower_bound=0, upper_bound=2**32 - 1)
LABEL = flags.DEFINE_integer(
    "label", None, "label, from 1, for models that use labels: of prior texts and of each --text"
)
SPLIT = flags.DEFINE_enum(
    "split", "test", ["train", "valid", "test"], "of the examples, without --text"
)


@flags.command
def main() -> None:
    """Prints texts, one a line; reconstructions as pairs of lines."""
    mode = _mode()
    _check_word_choice()
    # Imported late: mistakes above are reported, in one line, before JAX has loaded.
    import jax

    from spherical_vae.data.given_texts import encode_texts
    from spherical_vae.generation import texts
    from spherical_vae.generation.decoding import WordChoice
    from spherical_vae.random.keys import Purpose, root_key
    from spherical_vae.runs.trained_model import load_trained

    trained = load_trained(WORKDIR.value, REPLICA.value, flags.given_places())
    config, corpus = trained.config, trained.corpus
    if not trained.model.decoder.scores_sequences:
        for flag in (TEMPERATURE, TOP_P, GREEDY):
            if flag.present:
                raise UserError(
                    f"--{flag.name}: not with this model of documents, whose likeliest words are "
                    "shown; nothing is sampled"
                )
    label = _label(config.data.label_classes if config.label_embedding_size else 0, mode)
    choice = WordChoice(0.0 if GREEDY.value else TEMPERATURE.value, TOP_P.value, UNKNOWN.value)
    key = root_key(SEED.value, Purpose.GENERATE)
    if mode == "prior":
        print("\n".join(texts.prior_texts(trained, key, COUNT.value, choice, label)))
        return
    key_choice, key_words = jax.random.split(key)
    unknown: tuple[str, ...] = ()
    if TEXT.value is not None:
        split, unknown = encode_texts(TEXT.value, corpus, config.data, label)
        examples = texts.all_examples(split)
    else:
        needed = COUNT.value if mode == "reconstruct" else 2
        examples = texts.sample_examples(corpus, SPLIT.value, key_choice, needed)
    if mode == "reconstruct":
        pairs = texts.reconstruction_texts(trained, key_words, examples, choice)
        lines = [f"[{original}]\n{written}" for original, written in pairs]
    else:
        lines = texts.interpolation_texts(trained, key_words, examples, COUNT.value, choice)
    if unknown:
        _note_unknown(unknown, corpus.kind)
    print("\n".join(lines))


def _mode() -> str:
    """Returns the mode, given or by the number of texts; checks what goes with it."""
    given = TEXT.value
    if given is None:
        return MODE.value or "prior"
    by_number = {1: "reconstruct", 2: "interpolate"}
    mode = MODE.value or by_number.get(len(given))
    if mode is None:
        raise UserError(
            f"--text: {len(given)} given, allowed: one or two; more with --mode=reconstruct"
        )
    if mode == "prior":
        raise UserError("--text: not with --mode=prior, whose codes come from no text")
    if mode == "interpolate" and len(given) != 2:
        raise UserError(f"--text: {len(given)} given, allowed: two with --mode=interpolate")
    for flag in (SPLIT, COUNT) if mode == "reconstruct" else (SPLIT,):
        if flag.present:
            raise UserError(f"--{flag.name}: not with the given texts of --mode={mode}")
    return mode


def _check_word_choice() -> None:
    if not math.isfinite(TEMPERATURE.value):
        raise UserError(f"--temperature={TEMPERATURE.value}: a finite number >= 0 is allowed")
    if not 0 < TOP_P.value <= 1:
        raise UserError(f"--top_p={TOP_P.value}: a number > 0 and <= 1 is allowed")
    for flag in (TEMPERATURE, TOP_P):
        if GREEDY.value and flag.present:
            raise UserError(f"--greedy: not with --{flag.name}; it takes the likeliest word alone")


def _label(classes: int, mode: str) -> int:
    """Returns the label from 0."""
    if (mode != "prior" and TEXT.value is None) or not classes:
        if LABEL.value is not None:
            reason = "the model uses no labels" if not classes else "examples carry their own"
            raise UserError(f"--label={LABEL.value}: not with --mode={mode}; {reason}")
        return 0
    if LABEL.value is None or not 1 <= LABEL.value <= classes:
        given = "is missing" if LABEL.value is None else f"{LABEL.value} given"
        raise UserError(f"--label: {given}, allowed: this model needs a label in 1..{classes}")
    return LABEL.value - 1


def _note_unknown(words: tuple[str, ...], kind: str) -> None:
    done = "read as <unk>" if kind == "sequences" else "left out"
    listed = ", ".join(printable(word, 40) for word in words)
    print(f"note: not in the vocabulary, {done}: {listed}", file=sys.stderr)


if __name__ == "__main__":
    main.run()
