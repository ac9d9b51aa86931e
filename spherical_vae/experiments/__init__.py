"""The paper's tables and figures: `python -m spherical_vae.experiments NAME`.

One module for each says which runs it needs, what is collected from them and how it is shown; the
printed values stand there as data. What they share:

- `runs.py`: a configuration and a seed -> a trained model and its measures, made once and kept;
- `settings.py`: the rows of a table, each with what is tried for it on dev;
- `scales.py`, `tiny_corpus.py`: the same runs at a fraction of their size;
- `records.py`: `results/NAME.json`, from which everything that is shown is drawn;
- `tables.py`, `plots.py`, `report.py`: how it is shown.
"""
