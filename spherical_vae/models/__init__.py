"""The variational autoencoder and its parts, as Flax modules."""
