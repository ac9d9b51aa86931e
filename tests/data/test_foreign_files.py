"""Files as other programs write them: gzip, Windows, svmlight, one file without splits."""

import gzip
import io
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spherical_vae.data import load_corpus
from spherical_vae.data.files import CorpusFiles, decode_lines

TEXTS = {"train.txt": "a b\nc\n" * 20, "valid.txt": "a\n", "test.txt": "b\n"}
DOCUMENTS = {
    "train.feat": "2 1:3 2:1\n1 2:2\n1 3:1\n",
    "valid.feat": "1 1:1\n",
    "test.feat": "1 3:1\n",
    "vocab.new": "u\nv\nw\n",
}
FILES = {"text": TEXTS, "feat": DOCUMENTS}


@pytest.fixture
def fingerprint(data_config):
    def call(name, path, **changes):
        return load_corpus(data_config(name, path, label_classes=0, **changes)).fingerprint

    return call


def as_on_windows(text):
    return b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()


def windows_archive(folder, files):
    """Writes an archive whose names have the backslashes that some programs write."""
    path = folder / "corpus.zip"
    with zipfile.ZipFile(path, "w") as archive:
        names = {"deep\\er\\": b"", **{f"deep\\er\\{name}": files[name] for name in files}}
        for name, content in names.items():
            member = zipfile.ZipInfo("x")
            # As it stands in the file: the constructor would change it on Windows.
            member.filename = name
            archive.writestr(member, content)
    return path


@pytest.mark.parametrize("name", ["text", "feat"])
def test_written_elsewhere_is_the_same_corpus(fingerprint, write_files, tmp_path, name):
    files = FILES[name]
    expected = fingerprint(name, write_files(files))
    zipped = {f"{key}.gz": gzip.compress(text.encode()) for key, text in files.items()}
    windows = {key: as_on_windows(text) for key, text in files.items()}
    assert fingerprint(name, write_files(zipped)) == expected
    assert fingerprint(name, write_files(zipped, archive=True)) == expected
    assert fingerprint(name, write_files(windows)) == expected
    assert fingerprint(name, windows_archive(tmp_path, windows)) == expected


@pytest.mark.parametrize("name", ["text", "feat"])
def test_packed_files_are_kept_and_looked_at_again(write_files, data_config, tmp_path, name):
    files = {key: gzip.compress(text.encode()) for key, text in FILES[name].items()}
    folder = write_files({f"{key}.gz": content for key, content in files.items()})
    config = data_config(name, folder, cache_dir=str(tmp_path / "cache"))
    before = load_corpus(config).fingerprint
    key = next(iter(files))
    text = FILES[name][key]
    (folder / f"{key}.gz").write_bytes(gzip.compress((text + text).encode()))
    assert load_corpus(config).fingerprint != before


def test_one_text_file_is_carved(data_config, write_files, check_corpus, tmp_path):
    text = "".join(f"w{i} x\n" for i in range(100)) + "\n"
    folder = write_files({"my.text": text, "packed.txt.gz": gzip.compress(text.encode())})
    settings = {"seed": 3, "valid_fraction": 0.2, "test_fraction": 0.1}
    plain = load_corpus(data_config("text", folder / "my.text", **settings))
    check_corpus(plain)
    assert plain.name == "text:my"
    assert [len(plain.splits[key]) for key in ("train", "valid", "test")] == [70, 20, 10]
    assert "101 lines read = 100 kept + 1 empty, dropped" in plain.report
    assert "valid and test carved by data seed 3" in plain.report
    cached = {"cache_dir": str(tmp_path), **settings}
    packed = load_corpus(data_config("text", folder / "packed.txt.gz", **cached))
    assert packed.name == "text:packed"
    assert packed.fingerprint == plain.fingerprint
    other = load_corpus(data_config("text", folder / "my.text", **{**settings, "seed": 4}))
    assert other.fingerprint != plain.fingerprint


def test_files_that_are_no_text_are_refused(data_config, write_files, refusal):
    whole = write_files(TEXTS, archive=True).read_bytes()
    packed = gzip.compress(TEXTS["train.txt"].encode())
    contents = {
        "half.zip": (whole[: len(whole) // 2], "is not a folder or zip archive"),
        "half": (whole[: len(whole) // 2], "is not a folder or zip archive"),
        "half.txt.gz": (packed[:-9], "cannot be unpacked"),
        "bad.txt.gz": (packed[:20] + b"\xff" + packed[21:], "cannot be unpacked"),
        "no.txt.gz": (b"a b\n", "cannot be unpacked"),
        "nothing.txt.gz": (gzip.compress(b""), "is empty"),
        "nothing.txt": (b"", "is empty"),
        "picture.txt": (b"\x89PNG\r\n\x1a\n\0", "byte 0x89 is not UTF-8"),
        "short.txt": (b"a\n", "too few to carve"),
    }
    folder = write_files({name: content for name, (content, _) in contents.items()})
    for name, (_, message) in contents.items():
        assert message in refusal(load_corpus, data_config("text", folder / name)), name
    assert "is not a folder or zip" in refusal(
        load_corpus, data_config("feat", folder / "short.txt")
    )
    both = write_files({**TEXTS, "test.txt.gz": packed})
    assert "has test.txt and test.txt.gz" in refusal(load_corpus, data_config("text", both))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    parts=st.lists(st.binary(max_size=200), min_size=1, max_size=4),
    block=st.integers(1, 50),
    cut=st.integers(-5, 40),
)
def test_gzip_files_in_blocks(tmp_path_factory, parts, block, cut):
    """Members strung together, read in blocks of any size, are what `gzip` reads, or refused."""
    folder = tmp_path_factory.mktemp("gzip")
    packed = b"".join(gzip.compress(part) for part in parts)
    content = packed[: len(packed) - max(cut, 0)] + bytes(max(-cut, 0))
    (folder / "x.gz").write_bytes(content)
    try:
        expected = gzip.GzipFile(fileobj=io.BytesIO(content)).read()
    except (OSError, EOFError, zlib.error):
        expected = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spherical_vae.data.files._BLOCK_BYTES", block)
        try:
            found = b"".join(CorpusFiles(folder, "x").blocks("x"))
        except ValueError:
            found = None
    assert found == expected


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("+1 1:3 2:1 # a document\n+2 2:2\n", "1 1:3 2:1\n2 2:2\n"),
        ("# a file of svmlight\n1 1:3\n", "\n1 1:3\n"),
        ("1.0 1:3.0 2:1.\n2. 2:2.000\n", "1 1:3 2:1\n2 2:2\n"),
        ("1 1:3#no blank\n2\t 2:2 \n", "1 1:3\n2 2:2\n"),
    ],
)
def test_lines_of_svmlight(data_config, write_files, check_corpus, written, plain):
    corpora = []
    for text in (written, plain):
        folder = write_files({**DOCUMENTS, "train.feat": text})
        corpora.append(load_corpus(data_config("feat", folder, label_classes=2)))
        check_corpus(corpora[-1])
    assert corpora[0].fingerprint == corpora[1].fingerprint


def test_labels_that_are_not_used_may_have_any_sign(data_config, write_files, refusal):
    folder = write_files({**DOCUMENTS, "train.feat": "-1 1:3\n+1 2:1\n0 3:1\n"})
    assert load_corpus(data_config("feat", folder)).splits["train"].labels is None
    message = refusal(load_corpus, data_config("feat", folder, label_classes=2))
    assert "train.feat, line 1: label -1 is not in 1..2" in message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 1:0.43", "'1:0.43' is not `id:count` with positive integers"),
        ("1 qid:3 1:2", "'qid:3' is not `id:count`"),
        ("1 1.0:2", "'1.0:2' is not `id:count`"),
        ("0.5 1:2", "begins with '0.5', not an integer label"),
        ("++1 1:2", "begins with '++1', not an integer label"),
        ("1 1:+2", "'1:+2' is not `id:count`"),
        ("1 0:2", "word id 0 is not in 1..3"),
    ],
)
def test_lines_that_are_no_counts_are_refused(data_config, write_files, refusal, line, message):
    folder = write_files({**DOCUMENTS, "train.feat": f"1 1:1\n{line}\n"})
    assert f"train.feat, line 2: {message}" in refusal(load_corpus, data_config("feat", folder))


def test_lines_ended_by_cr_alone_are_told(data_config, write_files, refusal):
    """Else a whole file would be one line, cut to the longest sentence allowed."""
    old = {key: text.replace("\n", "\r") for key, text in TEXTS.items()}
    message = refusal(load_corpus, data_config("text", write_files(old)))
    assert "train.txt: lines end by CR alone (39 CR, 0 LF or CRLF)" in message
    mixed = {**TEXTS, "train.txt": "a\rb\rc\n"}
    assert "(2 CR, 1 LF" in refusal(load_corpus, data_config("text", write_files(mixed)))
    # One that strayed into a line is white space.
    stray = {**TEXTS, "train.txt": "a\rb\nc\n" * 20}
    corpora = [load_corpus(data_config("text", write_files(files))) for files in (stray, TEXTS)]
    assert corpora[0].fingerprint == corpora[1].fingerprint


def test_lines_are_the_same_however_windows_ends_them():
    text = "a b\n\nc\nlast"
    np.testing.assert_equal(
        decode_lines(as_on_windows(text), "f"), decode_lines(text.encode(), "f")
    )
