"""Weights of recurrent networks in and out: torch, Keras, Flax, TF1, Haiku, and files.

Every from_X takes one module of X or a list of them in the order in which data passes, or in their place the arrays that X
names so, and gives Weights(layers, params) for `rnnlab.models.network`. Every to_X gives the arrays of each module, a list in
that order, which from_X takes back. Arrays are only moved, transposed, joined and summed, so jax.grad goes through all of them;
they are JAX's on the way in (float64 only with jax_enable_x64), NumPy's on the way out.
"""

from rnnlab.interop.files import load, save
from rnnlab.interop.flax import from_flax, to_flax
from rnnlab.interop.haiku import from_haiku
from rnnlab.interop.keras import from_keras, to_keras
from rnnlab.interop.tf1 import from_tf1
from rnnlab.interop.torch import from_torch, to_torch
from rnnlab.interop.weights import Weights

__all__ = [
    'Weights',
    'from_flax',
    'from_haiku',
    'from_keras',
    'from_tf1',
    'from_torch',
    'load',
    'save',
    'to_flax',
    'to_keras',
    'to_torch',
]
