"""The tables and figures of Xu and Durrett (2018): `python -m paper NAME`, in a clone.

- `language.py` (tables 1, 3, 5), `codes.py` (table 6, figure 5), `rates.py` (figures 4, 6),
  `documents.py` (table 4), `corpora.py` (table 2), `fig1.py` to `fig3.py`, `ablation.py`: the rows
  of each table and figure as data, with the printed values, and its columns or axes; `notes.md`:
  its title and notes; `smoke.py`: the rows and sizes of scale smoke;
- `specs.py`, `runner.py`, `measures/`: from a row to trained models and their measures;
- `store.py`: `results/runs/ID.json`, one file a run, from which everything shown is computed;
- `tables.py`, `plots.py`, `verdicts.py`, `catalogue.py`, `report.py`: views of the store.
"""
