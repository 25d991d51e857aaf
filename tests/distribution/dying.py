"""A training that one of its processes leaves: `DIES` is how, at which epoch, "EPOCH HOW"; empty for not at all."""

import os
import signal
import sys
import time

import numpy as np
import torch.distributed as dist

import fastk
from tests.distribution.scenarios import layers, regression


class Die(fastk.callbacks.Callback):
    def __init__(self, epoch, how):
        self.epoch, self.how = int(epoch), how

    def on_train_batch_begin(self, batch, logs=None):
        if self.epochs_done == self.epoch and batch == 1 and dist.get_rank() == dist.get_world_size() - 1:
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "hangs":
                time.sleep(300)
            if self.how == "left":
                os._exit(3)
            raise ValueError("This sample is broken.")

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs_done = epoch


def train():
    fastk.utils.set_random_seed(5)
    x, y = regression(24)
    model = fastk.Sequential([fastk.Input((5,)), layers.Dense(6, "tanh"), layers.BatchNormalization(), layers.Dense(2)])
    model.compile(fastk.optimizers.Adam(0.05), "mse")
    callbacks: list[fastk.callbacks.Callback] = [fastk.callbacks.BackupAndRestore("backup", delete_checkpoint=False)]
    dies = os.environ.get("DIES")
    if dies:
        callbacks.append(Die(*dies.split()))
    history = model.fit(x, y, batch_size=6, epochs=5, callbacks=callbacks, verbose=2)
    np.savez(f"rank_{os.environ.get('RANK', 0)}.npz", *model.get_weights(), epochs=history.epoch)
    return {"epochs": history.epoch, "weights": model.get_weights()}


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    train()
