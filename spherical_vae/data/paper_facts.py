"""The paper's four corpora: where they are published, on what terms, and their counts (table 2)."""

from collections.abc import Mapping
from dataclasses import dataclass

_REPOSITORY = "https://github.com/jiacheng-xu/vmf_vae_nlp/raw/master/data"


@dataclass(frozen=True)
class Facts:
    """What is known of a corpus beforehand.

    Attributes:
      name: as `config.data.name` gives it.
      archive: name of the published file.
      blob_id: its git blob id; empty where none is registered.
      url: where it is fetched from; empty where it must be brought by hand.
      hint: what to fetch, for the message when it is missing.
      examples: expected by split, before dev is carved.
      vocabulary: number of words expected, end mark and unknown word of sentences included.
      exact_vocabulary: whether the published files have exactly so many words, or at most.
      mean_length: words an example, all splits or train as the paper prints it; for the report.
      label_classes: 0 where the files have no labels.
      license: terms of the text.
      citation: BibTeX.
      description: one sentence.
    """

    name: str
    archive: str
    blob_id: str
    url: str
    hint: str
    examples: Mapping[str, int]
    vocabulary: int
    exact_vocabulary: bool
    mean_length: str
    label_classes: int
    license: str
    citation: str
    description: str


PTB = Facts(
    name="ptb",
    archive="ptb.zip",
    blob_id="635ab9888e67dbb85829cb5b07ef6fc79b537b45",
    url=f"{_REPOSITORY}/ptb.zip",
    hint="fetch data/ptb.zip of github.com/jiacheng-xu/vmf_vae_nlp",
    examples={"train": 42_068, "valid": 3_370, "test": 3_761},
    vocabulary=10_000,
    exact_vocabulary=True,
    mean_length="21.1",
    label_classes=0,
    license="Wall Street Journal text, licensed by the Linguistic Data Consortium (LDC99T42)",
    citation="""@article{marcus1993building,
  title={Building a Large Annotated Corpus of English: The Penn Treebank},
  author={Marcus, Mitchell P. and Santorini, Beatrice and Marcinkiewicz, Mary Ann},
  journal={Computational Linguistics}, volume={19}, number={2}, year={1993}}""",
    description="Penn Treebank sentences in Mikolov's preprocessing.",
)

YELP = Facts(
    name="yelp",
    archive="yelp.zip",
    blob_id="8a097f3057587ef7af9e4a87e304867139ebdfac",
    url=f"{_REPOSITORY}/yelp.zip",
    hint="fetch data/yelp.zip of github.com/jiacheng-xu/vmf_vae_nlp",
    examples={"train": 62_522, "valid": 7_773, "test": 8_671},
    vocabulary=15_000,
    exact_vocabulary=False,
    mean_length="49.5",
    label_classes=5,
    license="Yelp Dataset Terms of Use: academic use only",
    citation="""@inproceedings{xu2016cached,
  title={Cached Long Short-Term Memory Neural Networks for Document-Level Sentiment Classification},
  author={Xu, Jiacheng and Chen, Danlu and Qiu, Xipeng and Huang, Xuanjing},
  booktitle={Proceedings of EMNLP}, year={2016}}""",
    description="Yelp 2013 reviews cut at 50 words, each line its stars less one and its words.",
)

NEWS20 = Facts(
    name="news20",
    archive="20ng.zip",
    blob_id="559fbd2f13ba1d9209243143de85d816fa6de167",
    url=f"{_REPOSITORY}/20ng.zip",
    hint="fetch data/20ng.zip of github.com/jiacheng-xu/vmf_vae_nlp",
    examples={"train": 11_268, "test": 7_505},
    vocabulary=2_000,
    exact_vocabulary=True,
    mean_length="96.1",
    label_classes=20,
    license="No licence is stated; public newsgroup posts, distributed for research",
    citation="""@inproceedings{lang1995newsweeder,
  title={NewsWeeder: Learning to Filter Netnews}, author={Lang, Ken},
  booktitle={Proceedings of ICML}, year={1995}}""",
    description="20 Newsgroups as bags of 2,000 words, preprocessed by Miao et al. (2016).",
)

RCV1 = Facts(
    name="rcv1",
    archive="rcv1.zip",
    blob_id="",
    url="",
    hint=(
        "pack Miao's train.feat, test.feat and vocab.new (another way: name a folder with the "
        "five lyrl2004_tokens_*.dat.gz of Lewis et al. 2004, appendix 12, by config.data.path)"
    ),
    examples={"train": 794_414, "test": 10_000},
    vocabulary=10_000,
    exact_vocabulary=True,
    mean_length="",
    label_classes=0,
    license="Reuters: term counts may be distributed for research, the text may not",
    citation="""@article{lewis2004rcv1,
  title={RCV1: A New Benchmark Collection for Text Categorization Research},
  author={Lewis, David D. and Yang, Yiming and Rose, Tony G. and Li, Fan},
  journal={Journal of Machine Learning Research}, volume={5}, pages={361--397}, year={2004}}""",
    description="RCV1-v2 newswire as bags of 10,000 stems.",
)
