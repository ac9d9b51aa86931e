"""Writes Yelp 2013 at its real size: official validation and test files, a generated train file.

    python benchmarks/generated_yelp.py yelp13_official.zip FOLDER
    python -m spherical_vae.train --config=configs/yelp.py --config.data.path=FOLDER \\
      --config.data.cache_dir=FOLDER/cache --workdir=DIR

The train file could not be obtained. The generated one has as many reviews and words in the
vocabulary; words, stars and lengths are sampled independently from the validation file. It is for
measuring speed, memory and resuming at that size; nothing can be learned from it. A cache folder of
its own keeps it from being taken for the real corpus.
"""

import argparse
import random
import zipfile
from collections import Counter
from pathlib import Path

from spherical_vae.data.corpora import yelp
from spherical_vae.data.examples import END_MARK, UNKNOWN_WORD


def generated_lines(reviews: list[str], generator: random.Random) -> list[str]:
    """Returns as many reviews as the real train file has, made of the words of `reviews`."""
    facts = yelp.SPEC.publication
    assert facts is not None
    stars, lengths, words = [], [], Counter[str]()
    for review in reviews:
        star, *text = review.split()
        stars.append(star)
        lengths.append(len(text))
        words.update(text)
    common = [word for word, _ in words.most_common() if word not in (UNKNOWN_WORD, END_MARK)]
    size = facts.vocabulary - 2
    # The validation file alone has fewer words than the vocabulary.
    kept = [*common[:size], *(f"generated{i}" for i in range(size - len(common)))]
    frequencies = [words.get(word, 1) for word in kept]
    total = facts.examples["train"]
    # Each word of the vocabulary occurs, so that their number is that of the real file.
    text = iter([*kept, *generator.choices(kept, frequencies, k=total * max(lengths))])
    return [
        " ".join([star, *(next(text) for _ in range(length))])
        for star, length in zip(
            generator.choices(stars, k=total), generator.choices(lengths, k=total), strict=True
        )
    ]


def main() -> None:
    """Writes the three files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("official", type=Path, help="archive with valid.txt and test.txt")
    parser.add_argument("folder", type=Path, help="where the files are written")
    arguments = parser.parse_args()
    try:
        with zipfile.ZipFile(arguments.official) as archive:
            parts = ("valid", "test")
            files = {name: archive.read(f"{name}.txt").decode("utf-8") for name in parts}
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        parser.error(f"{arguments.official}: no archive with valid.txt and test.txt ({error})")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    files["train"] = (
        "\n".join(generated_lines(files["valid"].splitlines(), random.Random(0))) + "\n"
    )
    for name, content in files.items():
        (arguments.folder / f"{name}.txt").write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
