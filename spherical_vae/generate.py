"""`python -m spherical_vae.generate`: text from a trained model, on standard output."""

import math

from absl.flags import FlagValues

from spherical_vae.config.command_line import CommandFlags, given_places
from spherical_vae.data.files import printable
from spherical_vae.system.errors import UserError
from spherical_vae.system.standard_error import tell

flags = CommandFlags(__name__, __doc__)
flags.define_places()
flags.DEFINE_string("workdir", None, "the run to write from", required=True)
flags.DEFINE_string("replica", None, "of a sweep, by its name")
flags.DEFINE_enum(
    "mode",
    None,
    ["prior", "reconstruct", "interpolate"],
    "where the codes come from; default: prior, with one --text reconstruct, with two interpolate",
)
flags.DEFINE_multi_string(
    "text", None, "a text to reconstruct; given twice, to walk from the first to the second"
)
flags.DEFINE_integer("count", 5, "texts, or points of the interpolation", lower_bound=1)
flags.DEFINE_float("temperature", 1.0, "of the words of sentences", lower_bound=0.0)
flags.DEFINE_float(
    "top_p", 1.0, "sample among the likeliest words of this total probability; in (0, 1]"
)
flags.DEFINE_bool("greedy", False, "take the likeliest word each time; temperature 0")
flags.DEFINE_bool("unknown", False, "let the unknown word, <unk>, be written")
flags.DEFINE_integer("seed", 0, "of codes and words", lower_bound=0, upper_bound=2**32 - 1)
flags.DEFINE_integer(
    "label", None, "label, from 1, for models that use labels: of prior texts and of each --text"
)
flags.DEFINE_enum("split", "test", ["train", "valid", "test"], "of the examples, without --text")


@flags.command
def main(given: FlagValues) -> list[str]:
    """Prints texts, one a line; reconstructions as pairs of lines.

    Returns:
      What is printed: the texts or pairs.
    """
    mode = _mode(given)
    if mode == "interpolate" and given.count < 2:
        raise UserError("--count=1: at least 2 with --mode=interpolate, which includes both ends")
    _check_word_choice(given)
    # Imported late: mistakes above are reported, in one line, before JAX has loaded.
    import jax

    from spherical_vae.data.given_texts import encode_texts
    from spherical_vae.generation import texts
    from spherical_vae.generation.decoding import WordChoice
    from spherical_vae.random.keys import Purpose, root_key
    from spherical_vae.runs.trained_model import load_trained

    trained = load_trained(given.workdir, given.replica, given_places(given))
    config, corpus = trained.config, trained.corpus
    if not trained.model.decoder.scores_sequences:
        unread = ["temperature", "top_p", "greedy"]
        if corpus.kind != "sequences":  # Of sentences the unknown word can be shown.
            unread.append("unknown")
        for name in unread:
            if given[name].present:
                raise UserError(
                    f"--{name}: not with this model of documents, whose likeliest words are "
                    "shown; nothing is sampled"
                )
    label = _label(given, config.data.label_classes if config.label_embedding_size else 0, mode)
    choice = WordChoice(0.0 if given.greedy else given.temperature, given.top_p, given.unknown)
    key = root_key(given.seed, Purpose.GENERATE)
    if mode == "prior":
        return _shown(texts.prior_texts(trained, key, given.count, choice, label))
    key_choice, key_words = jax.random.split(key)
    unknown: tuple[str, ...] = ()
    if given.text is not None:
        split, unknown = encode_texts(given.text, corpus, config.data, label)
        examples = texts.all_examples(split)
    else:
        needed = given.count if mode == "reconstruct" else 2
        examples = texts.sample_examples(corpus, given.split, key_choice, needed)
    if mode == "reconstruct":
        pairs = texts.reconstruction_texts(trained, key_words, examples, choice)
        lines = [f"[{original}]\n{written}" for original, written in pairs]
    else:
        lines = texts.interpolation_texts(trained, key_words, examples, given.count, choice)
    if unknown:
        done = "read as <unk>" if corpus.kind == "sequences" else "left out"
        listed = ", ".join(printable(word, 40) for word in unknown)
        tell(f"note: not in the vocabulary, {done}: {listed}")
    return _shown(lines)


def _shown(lines: list[str]) -> list[str]:
    print("\n".join(lines))
    return lines


def _mode(given: FlagValues) -> str:
    """Returns the mode, given or by the number of texts; checks what goes with it."""
    texts = given.text
    if texts is None:
        mode = given.mode or "prior"
        if mode == "prior" and given["split"].present:
            raise UserError("--split: not with --mode=prior, whose codes come from no example")
        return mode
    by_number = {1: "reconstruct", 2: "interpolate"}
    mode = given.mode or by_number.get(len(texts))
    if mode is None:
        raise UserError(
            f"--text: {len(texts)} given, allowed: one or two; more with --mode=reconstruct"
        )
    if mode == "prior":
        raise UserError("--text: not with --mode=prior, whose codes come from no text")
    if mode == "interpolate" and len(texts) != 2:
        raise UserError(f"--text: {len(texts)} given, allowed: two with --mode=interpolate")
    for name in ("split", "count") if mode == "reconstruct" else ("split",):
        if given[name].present:
            raise UserError(f"--{name}: not with the given texts of --mode={mode}")
    return mode


def _check_word_choice(given: FlagValues) -> None:
    if not math.isfinite(given.temperature):
        raise UserError(f"--temperature={given.temperature}: a finite number >= 0 is allowed")
    if not 0 < given.top_p <= 1:
        raise UserError(f"--top_p={given.top_p}: a number > 0 and <= 1 is allowed")
    for name in ("temperature", "top_p"):
        if given.greedy and given[name].present:
            raise UserError(f"--greedy: not with --{name}; it takes the likeliest word alone")


def _label(given: FlagValues, classes: int, mode: str) -> int:
    """Returns the label from 0."""
    if (mode != "prior" and given.text is None) or not classes:
        if given.label is not None:
            reason = "the model uses no labels" if not classes else "examples carry their own"
            raise UserError(f"--label={given.label}: not with --mode={mode}; {reason}")
        return 0
    if given.label is None or not 1 <= given.label <= classes:
        mistake = "is missing" if given.label is None else f"{given.label} given"
        raise UserError(f"--label: {mistake}, allowed: this model needs a label in 1..{classes}")
    return given.label - 1


if __name__ == "__main__":
    main.run()
