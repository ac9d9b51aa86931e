"""The paper's NVRNN and NVDM in PyTorch, as a peer for timing: the same products, places of dropout
and optimiser as ours. Its cosines come from Wood's proposals in one vectorised draw, no loop.
Nothing but `Trainer.run`'s return waits for the device.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from spherical_vae.data.batch import END_ID, Batch

PROPOSALS = 12  # a row; at d=50, kappa=80 all twelve are refused less than once in a million draws


def on_sphere(mean: torch.Tensor, concentration: float) -> torch.Tensor:
    """Draws one vMF vector a row by Wood's method (1994), with the gradient in the mean."""
    rows, dimension = mean.shape
    m = dimension - 1
    b = m / (2 * concentration + math.sqrt(4 * concentration**2 + m**2))
    x0 = (1 - b) / (1 + b)
    constant = concentration * x0 + m * math.log1p(-(x0**2))
    gamma = torch._standard_gamma(torch.full((2, rows, PROPOSALS), m / 2, device=mean.device))
    beta = gamma[0] / (gamma[0] + gamma[1])
    cosine = (1 - (1 + b) * beta) / (1 - (1 - b) * beta)
    accepted = concentration * cosine + m * torch.log1p(-x0 * cosine) - constant >= torch.log(
        torch.rand(rows, PROPOSALS, device=mean.device)
    )
    first = accepted.to(torch.uint8).argmax(dim=1, keepdim=True)
    cosine = cosine.gather(1, first)
    noise = torch.randn(rows, dimension, device=mean.device)
    tangent = noise - (noise * mean).sum(1, keepdim=True) * mean
    tangent = tangent / tangent.norm(dim=1, keepdim=True)
    return cosine * mean + torch.sqrt(1 - cosine**2) * tangent


class NVRNN(nn.Module):
    """LSTM encoder, vMF latent, LSTM decoder fed z (and the previous word unless inputless)."""

    def __init__(
        self,
        vocabulary: int,
        embedding: int,
        hidden: int,
        dimension: int,
        concentration: float,
        dropout: float,
        inputless: bool,
    ) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(vocabulary, embedding)
        self.encoder = nn.LSTM(embedding, hidden)
        self.mean = nn.Linear(hidden, dimension)
        self.start = nn.Linear(dimension, 2 * hidden)
        self.decoder = nn.LSTM(dimension + (0 if inputless else embedding), hidden)
        self.words = nn.Linear(hidden, vocabulary)
        self.concentration, self.rate, self.inputless = concentration, dropout, inputless

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Returns nats of the batch; ids `[T, B]`, lengths `[B]`, `real` the slots of words."""
        steps, rows = ids.shape
        words = functional.dropout(self.embeddings(ids), self.rate)
        states, _ = self.encoder(words)
        last = states[lengths - 1, torch.arange(rows, device=ids.device)]
        mean = self.mean(functional.dropout(last, self.rate)).float()
        mean = functional.normalize(mean)
        z = on_sphere(mean, self.concentration)
        cell, hidden = self.start(z).chunk(2, dim=1)
        inputs = z.expand(steps, rows, -1)
        if not self.inputless:
            end = torch.full((1, rows), END_ID, device=ids.device)
            previous = torch.cat([end, ids[:-1]])
            seen = functional.dropout(self.embeddings(previous), self.rate)
            inputs = torch.cat([seen, inputs], dim=2)
        states, _ = self.decoder(inputs, (hidden[None].contiguous(), cell[None].contiguous()))
        states = functional.dropout(states, self.rate)
        # Pads never reach the softmax: the cheapest way that eager PyTorch has.
        logits = self.words(states.flatten(0, 1)[real])
        return functional.cross_entropy(logits, ids.flatten()[real], reduction="sum")


class NVDM(nn.Module):
    """Bag of words -> 400 tanh -> 400 -> vMF latent -> 400 tanh -> softmax over words."""

    def __init__(
        self, vocabulary: int, hidden: int, dimension: int, concentration: float, dropout: float
    ) -> None:
        super().__init__()
        self.first = nn.EmbeddingBag(vocabulary, hidden, mode="sum")
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.second = nn.Linear(hidden, hidden)
        self.mean = nn.Linear(hidden, dimension)
        self.hidden = nn.Linear(dimension, hidden)
        self.words = nn.Linear(hidden, vocabulary)
        self.scale = math.sqrt(dimension)
        self.concentration, self.rate = concentration, dropout

    def forward(
        self, ids: torch.Tensor, counts: torch.Tensor, offsets: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        """Returns nats of the batch; documents end to end, `rows` says whose each entry is."""
        bag = self.first(ids, offsets, per_sample_weights=torch.log1p(counts))
        hidden = self.second(torch.tanh(bag + self.bias))
        mean = functional.normalize(self.mean(functional.dropout(hidden, self.rate)).float())
        z = on_sphere(mean, self.concentration) * self.scale
        hidden = functional.dropout(torch.tanh(self.hidden(z)), self.rate)
        log_probs = functional.log_softmax(self.words(hidden), dim=1)
        return -(log_probs[rows, ids] * counts).sum()


class Trainer:
    """Steps a model on given batches: forward, backward, clip, update."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        clip_norm: float,
        per_token: bool,
        half: bool = False,
    ) -> None:
        """Takes what is trained.

        Args:
          model: on its device.
          optimizer: of its parameters.
          clip_norm: 0 for none.
          per_token: whether the loss is the mean over tokens, else over examples.
          half: whether the forward pass is in bfloat16 where PyTorch's autocast has it so.
        """
        self._model, self._optimizer, self._clip_norm = model, optimizer, clip_norm
        self._per_token, self._half = per_token, half

    def run(self, batches: Sequence[tuple[tuple[torch.Tensor, ...], int, int]]) -> float:
        """Trains one step a batch; returns the last loss.

        Args:
          batches: arguments of the model, examples, tokens.
        """
        loss = torch.zeros(())
        for arguments, examples, tokens in batches:
            with torch.autocast(arguments[0].device.type, torch.bfloat16, enabled=self._half):
                loss = self._model(*arguments) / (tokens if self._per_token else examples)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if self._clip_norm:
                nn.utils.clip_grad_norm_(self._model.parameters(), self._clip_norm, foreach=True)
            self._optimizer.step()
        return float(loss.detach())


def sequence_arguments(batch: Batch) -> tuple[tuple[torch.Tensor, ...], int, int]:
    """Returns a padded batch as `NVRNN` takes it, time first."""
    mask = np.ascontiguousarray(batch.counts.T)
    arrays = batch.ids.T, mask.sum(axis=0), np.flatnonzero(mask)
    arguments = tuple(torch.from_numpy(np.ascontiguousarray(x)).long() for x in arrays)
    return arguments, int((batch.index >= 0).sum()), int(mask.sum())


def bag_arguments(batch: Batch) -> tuple[tuple[torch.Tensor, ...], int, int]:
    """Returns a padded batch as `NVDM` takes it: entries without pads, end to end."""
    real = batch.counts > 0
    lengths = real.sum(axis=1)
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    counts = torch.from_numpy(batch.counts[real]).float()
    arguments = (
        torch.from_numpy(batch.ids[real]).long(),
        counts,
        torch.from_numpy(offsets).long(),
        torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)).long(),
    )
    return arguments, int((batch.index >= 0).sum()), int(counts.sum())
