"""20 Newsgroups as bags of 1,995 words, preprocessed by Srivastava and Sutton (2017) for ProdLDA.

iTM-VAE-Prod (Ning et al. 2018) was measured on it. The first word of the vocabulary never occurs.
"""

from functools import partial

from spherical_vae.data.corpora.feat import read_feat
from spherical_vae.data.corpora.news20 import GROUPS
from spherical_vae.data.sources import Archive, CorpusSpec, Publication

SPEC = CorpusSpec(
    name="news20_prodlda",
    description="20 Newsgroups in ProdLDA's preprocessing, bags of words",
    kind="bags",
    source=Archive(
        "20ng_prodlda.zip",
        hint="zip train.feat, test.feat and vocab.new of the folder data/20news of "
        "github.com/sophieburkhardt/dirichlet-vae-topic-models",
    ),
    read=partial(read_feat, label_classes=len(GROUPS)),
    label_names=GROUPS,
    publication=Publication(
        title="20 Newsgroups as bags of 1,995 words, preprocessed for ProdLDA.",
        examples={"train": 11_258, "test": 7_487},
        vocabulary=1_995,
        counted_in="the repository of ProdLDA",
        license="No licence is stated; public newsgroup posts, distributed for research",
        citation="""@inproceedings{srivastava2017prodlda,
  title={Autoencoding Variational Inference for Topic Models},
  author={Srivastava, Akash and Sutton, Charles}, booktitle={Proceedings of ICLR}, year={2017}}""",
    ),
)
