"""sgd_: one step of stochastic gradient descent with Keras's momentum, in place over lists of tensors.

    without momenta      param -= learning_rate g
    with them            m      = momentum m - learning_rate g
                         param += m,  or  param += momentum m - learning_rate g  with nesterov (Sutskever et al. 2013)

params, grads and momenta (None where momentum is 0) are lists of one length; each tensor of grads and momenta has the
shape, dtype and device of its param. learning_rate is a float or a 0-d tensor; one on a GPU is not read by the host.
`options` (`kernels.step_options.StepOptions`, or None): what comes before it, loss scaling, clipping, weight decay.
"""
