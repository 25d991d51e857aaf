"""fastk's kernels where models already are: in Keras, in torch."""
