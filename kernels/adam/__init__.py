"""adam_: one step of Adam (Kingma & Ba 2015) with Keras's epsilon, in place over lists of tensors, t = 1, 2, ...

    alpha  = learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t)
    m     += (1 - beta_1) (g - m)
    v     += (1 - beta_2) (g^2 - v)
    vhat   = max(vhat, v)                                      where vhat is given (AMSGrad, Reddi et al. 2018), else v
    param -= alpha m / (sqrt(vhat) + epsilon)

params, grads, m, v and vhat (or None) are lists of one length; each tensor of grads, m, v and vhat has the shape,
dtype and device of its param. t (`step`) is an int or a 0-d integer tensor, learning_rate a float or a 0-d tensor;
those that are on a GPU are not read by the host.
`options` (`kernels.step_options.StepOptions`, or None): what comes before it, loss scaling, clipping, weight decay.
"""
