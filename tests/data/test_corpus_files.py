"""Folders, archives and lines: what is found, how bytes become lines, and what is refused."""

import itertools
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spherical_vae.data import load_corpus
from spherical_vae.data.files import CorpusFiles, decode_lines, line_blocks, printable
from spherical_vae.system.errors import UserError

FILES = {"train.txt": "a b\n", "test.txt": "c\n"}


@pytest.mark.parametrize("prefix", ["", "ptb/", "deep/er/"])
def test_archive_reads_as_its_folder_would(write_files, prefix):
    clutter = {"__MACOSX/ptb/._train.txt": b"\x00", "._train.txt": b""}
    archive = write_files({**{prefix + k: v for k, v in FILES.items()}, **clutter}, archive=True)
    source = CorpusFiles(archive, "train.txt")
    assert source.find(["valid.txt", "test.txt"]) == "test.txt"
    assert source.find(["valid.txt"]) is None
    assert list(source.blocks("train.txt")) == [b"a b\n"]
    assert source.name == "corpus"


def test_nothing_is_unpacked(write_files):
    archive = write_files(FILES, archive=True)
    list(CorpusFiles(archive, "train.txt").blocks("train.txt"))
    assert [p.name for p in archive.parent.iterdir()] == ["corpus.zip"]


def test_members_that_point_outside_are_only_names(write_files):
    archive = write_files({"../../train.txt": "a\n"}, archive=True)
    assert list(CorpusFiles(archive, "train.txt").blocks("train.txt")) == [b"a\n"]
    assert not (archive.parent.parent.parent / "train.txt").exists()


def test_archive_with_two_corpora_is_refused(write_files, refusal):
    archive = write_files({"one/train.txt": "a", "two/train.txt": "b"}, archive=True)
    assert "2 folders (one, two)" in refusal(CorpusFiles, archive, "train.txt")


def test_corrupt_archives_are_refused(write_files, refusal):
    archive = write_files({"train.txt": "word " * 100}, archive=True)
    content = archive.read_bytes()
    archive.write_bytes(content[:35] + b"\xff\xff" + content[37:])
    source = CorpusFiles(archive, "train.txt")
    assert "cannot be unpacked" in refusal(lambda: list(source.blocks("train.txt")))
    archive.write_bytes(content[: len(content) // 2])
    assert "is not a folder or zip archive" in refusal(CorpusFiles, archive, "train.txt")


def test_paths_that_are_no_corpus(tmp_path, refusal):
    (tmp_path / "plain").write_text("text")
    os.mkfifo(tmp_path / "pipe")
    for name in ("plain", "pipe"):
        message = refusal(CorpusFiles, tmp_path / name, "train.txt")
        assert "is not a folder or zip archive with train.txt" in message
    # Neither a folder nor a pipe is a file; the latter would block.
    (tmp_path / "train.txt").mkdir()
    assert "has no train.txt" in refusal(CorpusFiles, tmp_path, "train.txt")
    (tmp_path / "train.txt").rmdir()
    os.mkfifo(tmp_path / "train.txt")
    assert "has no train.txt" in refusal(CorpusFiles, tmp_path, "train.txt")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "'' given, allowed: a folder or zip archive"),
        ("nowhere", "nowhere does not exist"),
        ("a\0b", "a\\x00b is not a usable path"),
        ("x" * 5000, "is not a usable path"),
        ("two\nlines", "two\\nlines does not exist"),
    ],
)
def test_paths_that_lead_nowhere(data_config, refusal, path, message):
    for name in ("text", "feat"):
        assert message in refusal(load_corpus, data_config(name, path))


def test_anchor_missing(write_files, refusal):
    assert "has no train.txt" in refusal(CorpusFiles, write_files({"x": ""}), "train.txt")
    archive = write_files({"x": ""}, archive=True)
    assert "has no train.txt" in refusal(CorpusFiles, archive, "train.txt")


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"a b\nc", ["a b", "c"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\rb\n", ["a\rb"]),
        (b"\xef\xbb\xbfa\n", ["a"]),
        (b"\n\na\n\n", ["", "", "a", ""]),
        ("a\u2028b\x85c\x0cd\x1ee\n".encode(), ["a\u2028b\x85c\x0cd\x1ee"]),
    ],
)
def test_only_line_feeds_end_a_line(content, lines):
    assert decode_lines(content, "f") == lines


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "f is empty"),
        (b"\xef\xbb\xbf", "f is empty"),
        (b"a\nb\xffc\n", "f, line 2: byte 0xff is not UTF-8"),
        (b"a\r\n\r\nb\0", "f, line 3: NUL byte"),
        ("a\n".encode("utf-16"), "f, line 1: NUL byte"),
        (b"\n\xed\xa0\x80", "f, line 2: byte 0xed"),
        (b"a\n\xe2\x82", "f, line 2: byte 0xe2"),
    ],
)
def test_bytes_that_are_no_text_are_refused_with_their_line(refusal, content, message):
    assert message in refusal(decode_lines, content, "f")


def test_printable_stays_on_one_line():
    assert printable("a\nb\u2028\x1b[2Jé") == "a\\nb\\u2028\\x1b[2Jé"
    assert printable("x" * 300) == "x" * 200 + "…"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    content=st.lists(
        st.sampled_from([b"a", b"\xc3\xa6", b"\n", b"\r\n", b"\xef\xbb\xbf", b"\0", b"\xff"]),
        max_size=30,
    ).map(b"".join),
    cuts=st.lists(st.integers(0, 40), max_size=6),
)
def test_blocks_may_be_cut_anywhere(content, cuts):
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    blocks = [content[a:b] for a, b in itertools.pairwise(edges)]

    def result(call):
        try:
            return call()
        except UserError as error:
            return str(error)

    whole = result(lambda: decode_lines(content, "x"))
    parts = result(lambda: [line for lines in line_blocks(blocks, "x") for line in lines])
    # Of two things that are wrong, the one in the earlier lines is named.
    if isinstance(whole, str):
        assert isinstance(parts, str)
    else:
        assert parts == whole


def test_lines_are_numbered_over_all_blocks():
    with pytest.raises(UserError, match="x, line 3: byte 0xff"):
        list(line_blocks([b"a\nb", b"c\n", b"\xff\n"], "x"))
