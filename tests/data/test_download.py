"""Fetching an archive, from a server on this machine: only the whole, published file is kept."""

import http.server
import threading

import pytest
from ml_collections import ConfigDict

from spherical_vae.config import base_config
from spherical_vae.data import load_corpus
from spherical_vae.data.sources import Archive, blob_id, fetch

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def serve(monkeypatch):
    """Returns a function that answers requests as told and gives the URL, and counts requests."""
    monkeypatch.setenv("no_proxy", "*")
    servers = []

    def start(content, status=200, length=None):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content) if length is None else length))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.requests = []
        server.url = f"http://127.0.0.1:{server.server_port}/data/corpus.zip"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_fetched_once(serve, tmp_path):
    server = serve(CONTENT)
    path = tmp_path / "not" / "there" / "corpus.zip"
    assert fetch(server.url, blob_id(CONTENT), path) == path
    assert path.read_bytes() == CONTENT
    assert fetch(server.url, blob_id(CONTENT), path) == path
    assert server.requests == ["/data/corpus.zip"]


@pytest.mark.parametrize(
    ("content", "length"),
    [
        pytest.param(CONTENT[:-1] + b"x", None, id="changed"),
        pytest.param(CONTENT + b"x", None, id="longer"),
        pytest.param(b"", None, id="empty"),
        pytest.param(CONTENT, 100, id="cut by the server"),
    ],
)
def test_another_file_is_refused_and_not_kept(serve, tmp_path, refusal, content, length):
    message = refusal(
        fetch, serve(content, length=length).url, blob_id(CONTENT), tmp_path / "corpus.zip"
    )
    assert "corpus.zip is not the published file" in message
    assert blob_id(CONTENT) in message
    assert not list(tmp_path.iterdir())


def test_a_connection_that_ends_early_is_an_os_error(serve, tmp_path):
    """Like a network that is not there; who asked for a corpus is told what to bring."""
    server = serve(CONTENT, length=len(CONTENT) + 1)
    with pytest.raises(OSError, match="the transfer broke off"):
        fetch(server.url, blob_id(CONTENT), tmp_path / "corpus.zip")
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match="404"):
        fetch(serve(b"", status=404).url, blob_id(CONTENT), tmp_path / "corpus.zip")


@pytest.fixture
def small_ptb(publish, write_files):
    """Returns an archive, and a function that publishes it as Penn Treebank."""
    texts = {"train.txt": "a b\nb <unk>\n", "valid.txt": "a\n", "test.txt": "b\n"}
    archive = write_files({f"ptb/{k}": v for k, v in texts.items()}, archive=True)

    def at(url):
        counts = {"train": 2, "valid": 1, "test": 1}
        publish("ptb", counts, 4, blob_id(archive.read_bytes()), url)

    return archive, at


def ptb_config(cache) -> ConfigDict:
    config = base_config().data
    config.update(name="ptb", cache_dir=str(cache))
    return config


def test_a_corpus_from_its_url(serve, small_ptb, tmp_path, check_corpus):
    archive, publish = small_ptb
    server = serve(archive.read_bytes())
    publish(server.url)
    corpus = load_corpus(ptb_config(tmp_path))
    check_corpus(corpus)
    assert corpus.vocabulary.words == ("<unk>", "</s>", "b", "a")
    assert any("verified" in line for line in corpus.report)
    load_corpus(ptb_config(tmp_path))
    assert len(server.requests) == 1


def test_an_archive_without_a_registered_id_is_kept_by_its_address(serve, tmp_path):
    config = base_config().data
    config.cache_dir = str(tmp_path)
    contents = [b"one", b"two"]
    sources = [Archive("data.zip", "bring it", url=f"{serve(one).url}?get=1") for one in contents]
    assert [source.files(config) for source in sources] == [[], []]
    places = [source.find(config) for source in sources]
    assert [place.read_bytes() for place in places] == contents
    assert [source.files(config) for source in sources] == [[place] for place in places]
    assert [source.missing(config) for source in sources] == [None, None]


def test_a_failed_download_says_why_and_what_to_bring(serve, small_ptb, tmp_path, refusal, capsys):
    _, publish = small_ptb
    publish(serve(b"", status=503).url)
    message = refusal(load_corpus, ptb_config(tmp_path))
    assert "ptb.zip is not here" in message
    assert "--config.data.manual_dir=FOLDER" in message
    assert "HTTP Error 503" in capsys.readouterr().err
