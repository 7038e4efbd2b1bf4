"""Files of params: the same bits again, or a refusal in one line."""

import jax
import jax.numpy as jnp
import pytest

from rnnlab import InputError, bidirectional, recurrent, stack
from rnnlab.cells import elman, gru, lstm
from rnnlab.interop import load, save
from rnnlab.models import network
from tests.conftest import noisy, same
from tests.interop import D


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.float64, jnp.bfloat16])
def test_files_keep_params_bit_for_bit(tmp_path, dtype):
    layers = [recurrent(stack(lstm(2), gru(3))), bidirectional(elman(2), elman(2))]
    net = network(layers, inputs=D, outputs=2, vocabulary=5)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), noisy(net.init(jax.random.key(0))))
    params['readout']['kernel'] = params['readout']['kernel'].T  # not contiguous
    save(tmp_path / 'net.safetensors', params)
    for like in (None, params, jax.eval_shape(lambda: params)):
        loaded = load(tmp_path / 'net.safetensors', like)
        same(loaded, params)
        assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {jnp.dtype(dtype)}


def test_bad_files_are_refused(tmp_path):
    path = tmp_path / 'net.safetensors'
    save(path, {'layer_1': {'bias': jnp.ones(3)}})
    (tmp_path / 'text').write_text('no tensors')
    cases = [
        (lambda: load(tmp_path / 'none'), 'none is no safetensors file'),
        (lambda: load(tmp_path / 'text'), 'text is no safetensors file'),
        (
            lambda: load(path, {'layer_2': {'bias': jnp.ones(3)}}),
            r"no 'layer_1' and needs 'layer_2'; the entries are layer_1",
        ),
        (
            lambda: load(path, {'layer_1': {'bias': jnp.ones(4)}}),
            r"layer_1.bias' must be \[4\], not \[3\]",
        ),
        (lambda: load(path, {'layer_1': {}}), "has no 'layer_1'"),
        (lambda: save(tmp_path / 'none' / 'a', {'a': jnp.ones(3)}), 'cannot be written'),
        (lambda: save(path, {'a.b': jnp.ones(3)}), 'in them could not be loaded'),
    ]
    for make, words in cases:
        with pytest.raises(InputError, match=words) as error:
            make()
        assert '\n' not in str(error.value)
