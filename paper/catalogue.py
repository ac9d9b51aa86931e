"""All tables and figures, in the order of the paper."""

from paper import ablation, codes, corpora, documents, fig1, fig2, fig3, language, rates
from paper.experiment import NOTES, Computed, Trained

_MODULES = (language, codes, rates, documents, ablation, corpora, fig1, fig2, fig3)
_FOUND = {one.name: one for module in _MODULES for one in module.EXPERIMENTS}
EXPERIMENTS: dict[str, Trained | Computed] = {name: _FOUND[name] for name in NOTES}
