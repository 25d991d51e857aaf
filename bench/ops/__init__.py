"""Single ops: fastk's, dispatched and by each implementation, beside torch, its compiler, the vendor's library, JAX.

`cases` holds what is measured, at sizes of layers in real models; `rivals` and `jax_rivals` what else computes it;
`providers` makes calls of both; `gate` checks them against float64; `clock` times them in turns; `roofline` measures
what the machine can do; `measure` makes rows.
"""
