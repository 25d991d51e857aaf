"""What `fit` and `predict` cost on whole models: fastk and its rivals, in turns, in one run.

Every provider trains in a process of its own (Keras has one backend a process), on the same data, for the same number
of epochs. Only one process works at a time: the others wait for a line on a pipe.
"""
