"""Balances a pole on a cart: an actor that chooses the push, and a critic that foresees the reward.

    python examples/actor_critic.py            # --quick: a few steps, to see that it runs

The physics is here too (Barto, Sutton and Anderson, 1983), so no other package is needed. It ends with an error when
the pole is not held twice as long as by pushing at random.
"""

import argparse
import math
import sys

import numpy as np
import torch

import fastk as keras
from fastk import layers, ops

GAMMA = 0.99
MOST_STEPS = 200


class CartPole:
    """A cart of 1 kg on a rail, a pole of 0.1 kg and 1 m on it; each step is 20 ms and a push of 10 N left or right."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def reset(self):
        self.state = self.rng.uniform(-0.05, 0.05, 4)
        return self.state.astype("float32")

    def step(self, action):
        _, speed, angle, turning = self.state
        force = 10.0 if action == 1 else -10.0
        sine, cosine = math.sin(angle), math.cos(angle)
        pushed = (force + 0.05 * turning**2 * sine) / 1.1
        spin = (9.8 * sine - cosine * pushed) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
        change = np.array([speed, pushed - 0.05 * spin * cosine / 1.1, turning, spin])
        self.state = self.state + 0.02 * change
        fallen = abs(self.state[0]) > 2.4 or abs(self.state[2]) > math.radians(12)
        return self.state.astype("float32"), 1.0, fallen


def build_model():
    inputs = layers.Input((4,))
    common = layers.Dense(64, activation="relu")(inputs)
    return keras.Model(inputs, [layers.Dense(2, activation="softmax")(common), layers.Dense(1)(common)])


def episode(environment, model, rng):
    """Plays until the pole falls; gives `(logarithms of the probabilities, foreseen rewards, rewards)`."""
    state, chosen, foreseen, rewards = environment.reset(), [], [], []
    for _ in range(MOST_STEPS):
        probabilities, value = model(state[None])
        action = int(rng.random() < ops.convert_to_numpy(probabilities)[0, 1])
        chosen.append(ops.log(probabilities[0, action]))
        foreseen.append(value[0, 0])
        state, reward, fallen = environment.step(action)
        rewards.append(reward)
        if fallen:
            break
    return chosen, foreseen, rewards


def discounted(rewards):
    """For each step the sum of what follows, the later the less; scaled to mean 0 and deviation 1."""
    returns, total = [], 0.0
    for reward in reversed(rewards):
        total = reward + GAMMA * total
        returns.insert(0, total)
    returns = np.array(returns, "float32")
    return (returns - returns.mean()) / (returns.std() + 1e-7)


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--episodes", type=int, default=250)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    options = parser.parse_args()

    keras.utils.set_random_seed(0)
    rng, environment, model = np.random.default_rng(0), CartPole(0), build_model()
    optimizer = keras.optimizers.Adam(learning_rate=0.01)
    huber = keras.losses.Huber()
    lengths = []
    for number in range(3 if options.quick else options.episodes):
        chosen, foreseen, rewards = episode(environment, model, rng)
        returns = torch.as_tensor(discounted(rewards))
        foreseen = ops.stack(foreseen)
        better = returns - foreseen.detach()
        actor_loss = -ops.sum(ops.stack(chosen) * better)
        critic_loss = len(rewards) * huber(returns, foreseen)
        model.zero_grad()
        (actor_loss + critic_loss).backward()
        trained = model.trainable_weights
        with torch.no_grad():
            optimizer.apply([v.value.grad for v in trained], trained)
        lengths.append(len(rewards))
        if (number + 1) % 25 == 0:
            print(f"episode {number + 1}: held for {np.mean(lengths[-25:]):.0f} steps")
            if np.mean(lengths[-25:]) > 150:
                break

    print(f"Steps at first: {np.mean(lengths[:10]):.0f}; at last: {np.mean(lengths[-25:]):.0f}")
    if not options.quick and np.mean(lengths[-25:]) < 2 * np.mean(lengths[:10]):
        sys.exit("Twice as many steps as at first were expected.")


if __name__ == "__main__":
    main()
