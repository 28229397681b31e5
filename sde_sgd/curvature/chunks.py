"""Sums over the examples in chunks: the memory of a few examples, whatever their number."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from sde_sgd.problems.problem import Batch, Problem, Weighting

# Examples at a time: enough to fill matrix products, few enough for the activations of a network.
CHUNK_SIZE = 1024


def summed(function: Callable[[Weighting], PyTree], problem: Problem, weights: Weighting, chunk_size: int) -> PyTree:
    """Return ``function(weights)``, for a function additive in the weighting, from at most ``chunk_size`` at a time.

    The loss, its gradient and the products with its Hessian are such functions.
    """
    batch = _sparse(problem, weights)
    count = batch.indices.shape[0]
    if count <= chunk_size:
        return function(weights)
    num_chunks = -(-count // chunk_size)
    size = -(-count // num_chunks)
    padding = num_chunks * size - count  # examples of weight zero
    chunks = jax.tree.map(lambda leaf: jnp.pad(leaf, (0, padding)).reshape(num_chunks, size), batch)

    def add(total: PyTree, chunk: Batch) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, total, function(chunk)), None

    shapes = jax.eval_shape(function, jax.tree.map(lambda leaf: leaf[0], chunks))
    return jax.lax.scan(add, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes), chunks)[0]


def _sparse(problem: Problem, weights: Weighting) -> Batch:
    if isinstance(weights, Batch):
        return weights
    indices = jnp.arange(problem.num_examples)
    return Batch(indices, jnp.full(indices.shape, 1 / problem.num_examples) if weights is None else weights)
