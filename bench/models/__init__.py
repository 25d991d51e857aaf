"""What `fit` and `predict` cost on whole models: fastk and its rivals, in turns, in one run.

    python -m bench.models [--quick] [--models mlp cnn] [--providers fastk torch] [--threads 2] [--json FILE]

Every provider trains in a process of its own (Keras has one backend a process), on the same data, for the same number
of epochs. Only one process works at a time: the others wait for a line on a pipe. `docs/benchmarking.md` says how to
read the table.
"""
