"""rmsprop_: one step of RMSprop (Hinton 2012; centered: Graves 2013), in place over lists of tensors.

    velocity      = rho velocity + (1 - rho) g^2
    average_grad  = rho average_grad + (1 - rho) g                                              centered only
    increment     = learning_rate g / sqrt(velocity [- average_grad^2] + epsilon)
    m             = momentum m + increment;  param -= m                                         with momenta
    param        -= increment                                                                   without

params, grads, velocities, momenta (None where momentum is 0) and average_grads (None: not centered) are lists of one
length; each tensor has the shape, dtype and device of its param. learning_rate is a float or a 0-d tensor; one on a
GPU is not read by the host.
`options` (`kernels.step_options.StepOptions`, or None): what comes before it, loss scaling, clipping, weight decay.
"""
