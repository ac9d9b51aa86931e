"""All tables and figures, in the order of the paper."""

from paper import ablation, corpora, documents, fig1, fig2, fig3, language
from paper.experiment import Computed, Trained

_ORDER = ("table1", "table2", "table3", "table4", "table5", "table6", "fig1", "fig2", "fig3",
          "fig4", "fig5", "fig6", "learned_kappa", "ablation")  # fmt: skip
_FOUND: dict[str, Trained | Computed] = {
    one.name: one
    for module in (language, documents, ablation, corpora, fig1, fig2, fig3)
    for one in module.EXPERIMENTS
}
EXPERIMENTS = {name: _FOUND[name] for name in _ORDER}
