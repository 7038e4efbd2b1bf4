"""Weights of recurrent networks in and out: torch, Keras, Flax, Haiku, TF1, and files.

from_x takes a module of x or a list of them in the order in which data passes, or their arrays, and
returns Weights(layers, params) for `rnnlab.models.network`. to_x returns the arrays of each module,
which from_x takes back. Arrays are only moved, transposed, joined and summed, so that jax.grad goes
through all of them; they are JAX arrays coming in (float64 only with jax_enable_x64), NumPy arrays
going out.
"""

from rnnlab.interop.files import load, save
from rnnlab.interop.flax import from_flax, to_flax
from rnnlab.interop.haiku import from_haiku, to_haiku
from rnnlab.interop.keras import from_keras, to_keras
from rnnlab.interop.tf1 import from_tf1
from rnnlab.interop.torch import from_torch, to_torch
from rnnlab.interop.weights import Weights

__all__ = [
    'Weights', 'from_flax', 'from_haiku', 'from_keras', 'from_tf1', 'from_torch', 'load', 'save',
    'to_flax', 'to_haiku', 'to_keras', 'to_torch',
]  # fmt: skip
