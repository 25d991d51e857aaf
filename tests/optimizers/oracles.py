"""Each optimizer's update in float64 NumPy, for one variable, from the equations of its paper and Keras's constants."""

import numpy as np


def sgd(w, g, s, t, lr, momentum=0.0, nesterov=False):
    if not momentum:
        return w - lr * g
    s["m"] = momentum * s.get("m", 0.0) - lr * g
    return w + (momentum * s["m"] - lr * g if nesterov else s["m"])


def rmsprop(w, g, s, t, lr, rho=0.9, momentum=0.0, epsilon=1e-7, centered=False):
    s["v"] = rho * s.get("v", 0.0) + (1 - rho) * g**2
    divisor = s["v"] + epsilon
    if centered:
        s["a"] = rho * s.get("a", 0.0) + (1 - rho) * g
        divisor = divisor - s["a"] ** 2
    s["m"] = momentum * s.get("m", 0.0) + lr * g / np.sqrt(divisor)
    return w - s["m"]


def moments(g, s, beta_1, beta_2):
    s["m"] = beta_1 * s.get("m", 0.0) + (1 - beta_1) * g
    s["v"] = beta_2 * s.get("v", 0.0) + (1 - beta_2) * g**2
    return s["m"], s["v"]


def adam(w, g, s, t, lr, beta_1=0.9, beta_2=0.999, epsilon=1e-7, amsgrad=False):
    m, v = moments(g, s, beta_1, beta_2)
    if amsgrad:
        s["h"] = v = np.maximum(s.get("h", 0.0), v)
    return w - lr * np.sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (np.sqrt(v) + epsilon)


def adagrad(w, g, s, t, lr, initial_accumulator_value=0.1, epsilon=1e-7):
    s["s"] = s.get("s", initial_accumulator_value) + g**2
    return w - lr * g / np.sqrt(s["s"] + epsilon)


def adadelta(w, g, s, t, lr, rho=0.95, epsilon=1e-7):
    s["s"] = rho * s.get("s", 0.0) + (1 - rho) * g**2
    step = np.sqrt(s.get("u", 0.0) + epsilon) / np.sqrt(s["s"] + epsilon) * g
    s["u"] = rho * s.get("u", 0.0) + (1 - rho) * step**2
    return w - lr * step


def adamax(w, g, s, t, lr, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    s["m"] = beta_1 * s.get("m", 0.0) + (1 - beta_1) * g
    s["u"] = np.maximum(beta_2 * s.get("u", 0.0), np.abs(g))
    return w - lr / (1 - beta_1**t) * s["m"] / (s["u"] + epsilon)


def nadam(w, g, s, t, lr, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    m, v = moments(g, s, beta_1, beta_2)
    now, ahead = (beta_1 * (1 - 0.5 * 0.96**k) for k in (t, t + 1))
    s["product"] = s.get("product", 1.0) * now
    direction = ahead * m / (1 - s["product"] * ahead) + (1 - now) * g / (1 - s["product"])
    return w - lr * direction / (np.sqrt(v / (1 - beta_2**t)) + epsilon)


def lion(w, g, s, t, lr, beta_1=0.9, beta_2=0.99):
    m = s.get("m", 0.0)
    s["m"] = beta_2 * m + (1 - beta_2) * g
    return w - lr * np.sign(beta_1 * m + (1 - beta_1) * g)


def lamb(w, g, s, t, lr, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    m, v = moments(g, s, beta_1, beta_2)
    update = m / (1 - beta_1**t) / (np.sqrt(v / (1 - beta_2**t)) + epsilon)
    size, length = np.sqrt(np.sum(w**2)), np.sqrt(np.sum(update**2))
    return w - lr * (size / length if size > 0 and length > 0 else 1.0) * update


def ftrl(w, g, s, t, lr, power=-0.5, first=0.1, l1=0.0, l2=0.0, shrinkage=0.0, beta=0.0):
    before = s.get("n", first)
    s["n"] = before + g**2
    slope = (s["n"] ** -power - before**-power) / lr
    s["z"] = s.get("z", 0.0) + g + 2 * shrinkage * w - slope * w
    return (np.clip(s["z"], -l1, l1) - s["z"]) / (s["n"] ** -power / lr + 2 * (l2 + beta / (2 * lr)))


def adafactor(w, g, s, t, lr, decay=-0.8, epsilon_1=1e-30, epsilon_2=1e-3, threshold=1.0):
    def rms(x):
        return np.sqrt(np.mean(x**2))

    beta = 1 - t**decay
    square = g**2 + epsilon_1
    if g.ndim < 2:
        s["v"] = v = beta * s.get("v", 0.0) + (1 - beta) * square
    else:
        s["r"] = beta * s.get("r", 0.0) + (1 - beta) * square.mean(-1)
        s["c"] = beta * s.get("c", 0.0) + (1 - beta) * square.mean(-2)
        v = (s["r"] / s["r"].mean(-1, keepdims=True))[..., None] * s["c"][..., None, :]
    update = g / np.sqrt(v)
    update = update / max(1.0, rms(update) / threshold)
    return w - max(epsilon_2, rms(w)) * min(lr, 1 / np.sqrt(t)) * update


def schedule_free_adamw(w, g, s, t, lr, beta_1=0.9, beta_2=0.999, epsilon=1e-8, warmup=0):
    z, x = s.get("z", w), s.get("x", w)
    s["v"] = beta_2 * s.get("v", 0.0) + (1 - beta_2) * g**2
    lr = lr * min(1.0, t / warmup) if warmup else lr
    s["z"] = z - lr * g / (np.sqrt(s["v"] / (1 - beta_2**t)) + epsilon)
    s["x"] = x + (s["z"] - x) / t
    return (1 - beta_1) * s["z"] + beta_1 * s["x"]


def muon(w, g, s, t, lr, momentum=0.95, nesterov=True, steps=5, rms_rate=0.2, ratio=1.0):
    if g.ndim != 2:
        return adam(w, g, s, t, lr * ratio)
    s["m"] = momentum * s.get("m", 0.0) + g
    x = g + momentum * s["m"] if nesterov else s["m"]
    # The polynomial acts on the singular values alone.
    left, values, right = np.linalg.svd(x, full_matrices=False)
    values = values / (np.sqrt(np.sum(values**2)) + 1e-7)
    for _ in range(steps):
        values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
    scale = 1.0 if rms_rate is None else rms_rate * np.sqrt(max(x.shape))
    return w - lr * scale * (left * values) @ right
