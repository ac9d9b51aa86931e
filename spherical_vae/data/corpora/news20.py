"""20 Newsgroups as bags of 2,000 words, preprocessed by Miao et al. (2016)."""

from functools import partial

from spherical_vae.data.corpora.feat import read_feat
from spherical_vae.data.corpora.ptb import authors_archive
from spherical_vae.data.sources import CorpusSpec, Publication

# The files number the groups and do not name them.
GROUPS = tuple(f"group {i}" for i in range(1, 21))

SPEC = CorpusSpec(
    name="news20",
    description="20 Newsgroups, bags of words",
    kind="bags",
    source=authors_archive("20ng.zip", "559fbd2f13ba1d9209243143de85d816fa6de167"),
    read=partial(read_feat, label_classes=len(GROUPS)),
    label_names=GROUPS,
    publication=Publication(
        title="20 Newsgroups as bags of 2,000 words, preprocessed by Miao et al. (2016).",
        examples={"train": 11_268, "test": 7_505},
        vocabulary=2_000,
        mean_length="96.1",
        license="No licence is stated; public newsgroup posts, distributed for research",
        citation="""@inproceedings{lang1995newsweeder,
  title={NewsWeeder: Learning to Filter Netnews}, author={Lang, Ken},
  booktitle={Proceedings of ICML}, year={1995}}""",
    ),
)
