"""Priors: modules `(latent, posterior_of, hidden_size, hyper) -> Distribution`.

Each file has a class `Prior(components)` that says whether it is `learned`. What it may use of a
latent is the contract in `latent.py`, so every prior fits every latent that has what it asks for.
What it returns needs `log_prob`, `sample` and the support of the standard prior.
"""
