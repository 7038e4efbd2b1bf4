"""The timed work in torch, with its fused Adam."""

import torch
from torch import Tensor, nn

from experiments.benchmark.work import CLASSES, EPSILON, LR, Shape, Work, make_data, make_weights
from rnnlab.interop import to_torch

RECURRENCES = {'elman': nn.RNN, 'lstm': nn.LSTM, 'gru': nn.GRU}


class Classifier(nn.Module):
    def __init__(self, cell: str, shape: Shape) -> None:
        super().__init__()
        embedding = nn.Embedding(shape.vocabulary, shape.inputs) if shape.vocabulary else None
        recurrence = RECURRENCES[cell](shape.inputs, shape.hidden, shape.layers)
        self.embedding, self.recurrence = embedding, recurrence
        self.readout = nn.Linear(shape.hidden, CLASSES)
        states = to_torch(*make_weights(cell, shape))
        for module, state in zip(self.children(), states, strict=True):
            module.load_state_dict({name: torch.tensor(array) for name, array in state.items()})

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [T, B, D], or ids [T, B], to logits."""
        xs = inputs if self.embedding is None else self.embedding(inputs)
        return self.readout(self.recurrence(xs)[0][-1])


def prepare(cell: str, shape: Shape, kind: str, threads: int) -> Work:
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # as XLA does; else gradients at 500 steps take twice as long
    data, steps, model = make_data(shape, kind), shape.times(kind), Classifier(cell, shape)
    inputs = torch.from_numpy(data.inputs).transpose(0, 1).contiguous()
    inputs = inputs.long() if shape.vocabulary else inputs
    labels = torch.from_numpy(data.labels).long()

    def forward() -> list[float]:
        with torch.no_grad():
            for _ in range(steps):
                outputs = model(inputs)
        return [outputs.norm().item()]

    def gradient() -> list[float]:
        for _ in range(steps):
            loss = backward(model, inputs, labels)
        matrices = [param.grad.norm() for param in model.parameters() if param.ndim > 1]
        return [loss.item(), torch.stack(matrices).norm().item()]

    if kind in ('forward', 'gradient'):
        return {'forward': forward, 'gradient': gradient}[kind]

    tx = torch.optim.Adam(model.parameters(), lr=LR, eps=EPSILON, fused=True)

    def train() -> list[float]:
        total, batches = 0.0, [slice(None)] * steps
        if kind == 'epoch':
            batches = torch.randperm(len(labels)).split(shape.batch)
        for batch in batches:
            loss = backward(model, inputs[:, batch], labels[batch])
            tx.step()
            total += loss.item()
        return [total / steps]

    return train


def backward(model: Classifier, inputs: Tensor, labels: Tensor) -> Tensor:
    """The loss; leaves its gradient in the parameters."""
    loss = nn.functional.cross_entropy(model(inputs), labels)
    for param in model.parameters():
        param.grad = None
    loss.backward()
    return loss
