"""The paper's tables and figures: `python -m spherical_vae.experiments NAME`.

One module for each says which runs it needs, what is collected from them and how it is shown; the
printed values stand there as data. What they share:

- `language_models.py`, `documents.py`: the models that several of them train;
- `laboratory/`: a configuration and a seed -> a trained model and its measures, made once and kept,
  and the rows of a table, each with what is tried for it on dev;
- `measures/`: what single ones ask of a trained model besides;
- `records.py`: `results/NAME.json`, from which everything that is shown is drawn; by
  `known_runs.py` a row takes over from another record what is the same run;
- `rendering/`: how it is shown.
"""
