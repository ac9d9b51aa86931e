"""Reuters-21578 newswire as bags of words, in the ModApte split."""

import html
import re
from pathlib import Path
from typing import Any

from spherical_vae.data.examples import RawCorpus, raw_corpus
from spherical_vae.data.raw_text import content_words, tar_members
from spherical_vae.data.sources import Archive, CorpusSpec
from spherical_vae.system.errors import UserError

FILE = "reuters21578.tar.xz"
_ARTICLE = re.compile(r"<REUTERS ([^>]*)>(.*?)</REUTERS>", re.DOTALL)
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')
_TEXT = re.compile(r"<TEXT([^>]*)>(.*?)</TEXT>", re.DOTALL)
_TITLE_BODY = re.compile(r"<(TITLE|BODY)>(.*?)</\1>", re.DOTALL)
_TAG = re.compile(r"<[^>]{0,100}>")


def read_reuters(place: Path, config_data: Any, scratch: Path | None) -> RawCorpus:
    """Reads the articles; words are those of title and body without the stop list.

    Train are the articles with LEWISSPLIT="TRAIN" and TOPICS="YES", test those with "TEST".

    Raises:
      UserError: the archive breaks its layout.
    """
    path = place / FILE if place.is_dir() else place
    documents: dict[str, list[list[str]]] = {"train": [], "test": []}
    unused, seen = 0, set[str]()
    for member, content in tar_members(path, ".sgm"):
        # The files are ASCII but for a few bytes that no word has.
        text = content.decode("latin-1")
        articles = _ARTICLE.findall(text)
        if len(articles) != text.count("<REUTERS "):
            raise UserError(f"{member}: an article is not closed by </REUTERS>")
        for header, body in articles:
            attributes = dict(_ATTRIBUTE.findall(header))
            number = attributes.get("NEWID", "")
            if not number or number in seen:
                raise UserError(f"{member}: NEWID {number[:20]!r} is missing or there twice")
            seen.add(number)
            split = attributes.get("LEWISSPLIT", "").lower()
            if attributes.get("TOPICS") != "YES" or split not in documents:
                unused += 1
                continue
            documents[split].append(content_words(_article_text(body)))
    if not seen:
        raise UserError(f"{path.name} holds no article (.sgm)")
    read = (
        f"{len(seen):,} articles read = {len(documents['train']):,} train + "
        f"{len(documents['test']):,} test + {unused:,} outside the ModApte split"
    )
    return raw_corpus("bags", documents, "articles", history=[read])


def _article_text(body: str) -> str:
    """Returns title and body, or all of the text if it is not marked up."""
    match = _TEXT.search(body)
    if match is None:
        return ""
    attributes, text = match.groups()
    parts = () if 'TYPE="UNPROC"' in attributes else _TITLE_BODY.findall(text)
    # Twice: the files escape `<` and `&`, and control characters as numbers.
    return html.unescape(" ".join(part for _, part in parts) or _TAG.sub(" ", text))


SPEC = CorpusSpec(
    name="reuters",
    description="Reuters-21578 newswire, bags of words",
    kind="bags",
    source=Archive(FILE, "fetch Reuters-21578 and pack its .sgm files as a tar.xz"),
    read=read_reuters,
    settings={"vocabulary_size": 10_000},
    tokenize=content_words,
)
