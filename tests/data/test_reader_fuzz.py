"""Whatever the bytes, the readers give a good corpus or refuse in one line."""

import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spherical_vae.data import load_corpus
from spherical_vae.system.errors import UserError

pieces = {
    "text": [b"a", b"bb", b"<unk>", b"</s>", b"1", b"2", b"7", b"x" * 300],
    "feat": [b"1", b"2", b"9", b"1:1", b"2:3", b"3:1", b"1:0", b"0:1", b":", b"1:x", b"-1:2"],
}
separators = [b" ", b" ", b"\n", b"\n", b"\r\n", b"\t", b"\r", b"\xe2\x80\xa8", b"\xc2\x85"]
odd = [b"\0", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80", b"\x1c"]


def contents(name):
    """Returns a strategy for files that are mostly right."""
    wrong = st.lists(st.sampled_from(pieces[name] + separators + odd), max_size=30)
    right = {
        "text": st.sampled_from([b"1 a b", b"2 bb", b"1 a\xc2\xa0c", b"1 a\rb c <unk> x"]),
        "feat": st.sampled_from([b"1 1:1", b"2 2:3 1:2", b"1\t1:9 3:1 ", b"2 3:1"]),
    }[name]
    lines = st.lists(right | st.just(b""), min_size=1).map(lambda some: [*some, some[0], b"1 "])
    return st.one_of(
        lines.map(b"\n".join),
        lines.map(b"\n".join),
        lines.map(b"\r\n".join),
        lines.map(lambda some: b"\xef\xbb\xbf" + b"\n".join(some)),
        wrong.map(b"".join),
        st.binary(max_size=40),
    )


def load_or_refuse(config, check_corpus):
    """Returns whether the corpus was accepted; anything but a one-line refusal raises."""
    try:
        corpus = load_corpus(config)
    except UserError as error:
        message = str(error)
        assert message
        assert len(message.splitlines()) == 1
        return False
    check_corpus(corpus)
    return True


@pytest.mark.parametrize("name", ["text", "feat"])
@pytest.mark.parametrize("archive", [False, True])
def test_any_bytes(name, archive, write_files, data_config, check_corpus):
    suffix = {"text": "txt", "feat": "feat"}[name]
    accepted = []

    @settings(max_examples=50, deadline=None, database=None, derandomize=True)
    @given(
        train=contents(name),
        valid=st.none() | contents(name),
        test=contents(name),
        changes=st.fixed_dictionaries(
            {
                "label_classes": st.sampled_from([0, 2]),
                "max_length": st.integers(1, 5),
                "long_lines": st.sampled_from(["cut", "drop"]),
                "vocabulary_size": st.integers(3, 8),
            }
        ),
    )
    def check(train, valid, test, changes):
        files = {"train": train, "valid": valid, "test": test}
        named = {f"{k}.{suffix}": v for k, v in files.items() if v is not None}
        path = write_files({**named, "vocab.txt": b"u 3\nv\nw 1\n"}, archive)
        accepted.append(load_or_refuse(data_config(name, path, **changes), check_corpus))

    check()
    # The fuzzing must reach the far side of the readers, too.
    assert sum(accepted) >= 5


@pytest.mark.parametrize("name", ["text", "feat"])
def test_damaged_archives(name, write_files, data_config, check_corpus):
    files = {
        "text": {"train.txt": "a b\nc\n" * 9, "valid.txt": "a\n", "test.txt": "a b c\n"},
        "feat": {"train.feat": "1 1:1\n" * 9, "test.feat": "1 1:1\n", "vocab.new": "u 1\nv 1\n"},
    }[name]
    good = write_files({f"sub/{k}": v for k, v in files.items()}, archive=True)
    assert zipfile.is_zipfile(good)
    content = good.read_bytes()

    @settings(max_examples=60, deadline=None, database=None, derandomize=True)
    @given(
        changes=st.lists(
            st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=4
        ),
        end=st.one_of(st.just(len(content)), st.integers(0, len(content))),
    )
    def check(changes, end):
        damaged = bytearray(content)
        for position, value in changes:
            damaged[position] = value
        path = good.with_name("damaged.zip")
        path.write_bytes(damaged[:end])
        load_or_refuse(data_config(name, path), check_corpus)

    check()
