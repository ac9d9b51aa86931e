"""Whatever is done to real-like files, the readers of stand-ins give a corpus or one line."""

import gzip
import io
import lzma
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spherical_vae.config import base_config
from spherical_vae.data import load_corpus
from spherical_vae.data.paper_files import read_token_file
from spherical_vae.data.raw_text import csv_rows, tokenize_review
from spherical_vae.system.errors import UserError

REVIEWS = "review_id,stars,text\r\n" + "".join(
    f'r{i},{1 + i % 5},"Good \u2028 food,\n""it\'s"" {i}"\r\n' for i in range(12)
)
ARTICLES = "".join(
    f'<REUTERS TOPICS="YES" LEWISSPLIT="{"TEST" if i % 3 else "TRAIN"}" NEWID="{i}">\n'
    f"<TEXT><TITLE>OIL &lt;X></TITLE><BODY>prices rose word{i}\n&#3;</BODY></TEXT>\n</REUTERS>\n"
    for i in range(24)
)
TOKENS = "".join(f".I {i}\n.W\noil price\nrose\n\n" for i in range(9)).encode()
odd = st.sampled_from(
    [b"\0", b"\xff", b"\xef\xbb\xbf", b"\r\n", b"\xe2\x80\xa8", b"", b'"', b"<", b"\n"]
)
changes = st.lists(st.tuples(st.integers(0, 10_000), odd), max_size=3)


def mutated(content, some):
    """Puts odd bytes in the place of one byte each."""
    for place, piece in some:
        place %= max(1, len(content))
        content = content[:place] + piece + content[place + 1 :]
    return content


def accepts(call):
    """Returns whether a call is not refused; a refusal must be one line."""
    message = ""
    try:
        call()
    except UserError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1
    return not message


def packed(name, content):
    if name == "yelp10k":
        return "yelp10k.csv.xz", lzma.compress(content, preset=0)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("../../reuters21578/reut2-000.sgm")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return "reuters21578.tar.xz", lzma.compress(buffer.getvalue(), preset=0)


@pytest.mark.parametrize("name", ["yelp10k", "reuters"])
def test_mutated_files(name, tmp_path, check_corpus):
    content = {"yelp10k": REVIEWS, "reuters": ARTICLES}[name].encode()
    config = base_config().data
    config.update(name=name, manual_dir=str(tmp_path), valid_fraction=0.2, test_fraction=0.2)
    if "cache_dir" in config:
        config.cache_dir = "none"
    accepted = []

    @settings(max_examples=60, deadline=None, database=None, derandomize=True)
    @given(inside=changes, outside=changes, kept=st.sampled_from([1.0, 1.0, 1.0, 0.5]))
    def check(inside, outside, kept):
        file, data = packed(name, mutated(content, inside))
        data = mutated(data, outside if kept < 1 else [])
        (tmp_path / file).write_bytes(data[: int(len(data) * kept)])
        accepted.append(accepts(lambda: check_corpus(load_corpus(config))))

    check()
    assert sum(accepted) >= 5
    # A name in an archive that points outside is only a name.
    assert not list(tmp_path.parent.glob("reuters21578"))


def test_mutated_token_files(tmp_path):
    path = tmp_path / "tokens.dat.gz"
    accepted = []

    @settings(max_examples=100, deadline=None, database=None, derandomize=True)
    @given(inside=changes, end=st.sampled_from([1.0, 1.0, 0.7]))
    def check(inside, end):
        data = gzip.compress(mutated(TOKENS, inside))
        path.write_bytes(data[: int(len(data) * end)])
        accepted.append(accepts(lambda: list(read_token_file(path))))

    check()
    assert 5 <= sum(accepted) < len(accepted)


def test_ten_million_characters_are_one_review():
    text = "a b" + "x" * 10_000_000
    rows = list(csv_rows(f'text\n"{text}"\n'.encode(), "table", ("text",)))
    assert [len(word) for word in tokenize_review(rows[0][0])] == [1, 10_000_001]
