"""Learns to add numbers that are written as text: an LSTM reads "35+7", another writes "42".

    python examples/seq2seq_lstm.py            # --quick: a few steps, to see that it runs

It ends with an error when fewer than 90 % of the digits of new sums are right.
"""

import argparse
import sys

import numpy as np

import fastk as keras
from fastk import layers

DIGITS = 2
QUESTION, ANSWER = 2 * DIGITS + 1, DIGITS + 1
ALPHABET = "0123456789+ "


def encode(texts, length):
    """One-hot vectors `(texts, length, alphabet)`."""
    places = np.array([[ALPHABET.index(letter) for letter in text.ljust(length)] for text in texts])
    return keras.utils.to_categorical(places, len(ALPHABET))


def decode(vectors):
    return ["".join(ALPHABET[i] for i in row).strip() for row in np.argmax(vectors, axis=-1)]


def make_data(count, seed):
    """Questions, read backwards, which brings the digits that belong together closer; and answers."""
    rng = np.random.default_rng(seed)
    sums = rng.integers(0, 10**DIGITS, (count, 2))
    questions = [f"{a}+{b}"[::-1] for a, b in sums]
    return encode(questions, QUESTION), encode([str(a + b) for a, b in sums], ANSWER)


def build_model(units):
    return keras.Sequential(
        [
            keras.Input((QUESTION, len(ALPHABET))),
            layers.LSTM(units),  # the question as one vector
            layers.RepeatVector(ANSWER),  # for each place of the answer
            layers.LSTM(units, return_sequences=True),
            layers.TimeDistributed(layers.Dense(len(ALPHABET), activation="softmax")),
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    options = parser.parse_args()
    count, units, epochs = (64, 8, 1) if options.quick else (10_000, 128, options.epochs)

    keras.utils.set_random_seed(0)
    x, y = make_data(count, 1)
    model = build_model(units)
    # With a rate that stays at 3e-3 the last epochs can undo what the ones before them learnt.
    steps = epochs * -(-len(x) * 9 // (10 * 64))
    rate = keras.optimizers.schedules.CosineDecay(3e-3, decay_steps=steps)
    model.compile(keras.optimizers.Adam(rate), "categorical_crossentropy", metrics=["accuracy"])
    model.summary()
    model.fit(x, y, batch_size=64, epochs=epochs, validation_split=0.1, verbose=2)

    x, y = make_data(max(count // 20, 10), 2)
    answers = model.predict(x, verbose=0)
    for question, answer, right in list(zip(decode(x), decode(answers), decode(y), strict=True))[:10]:
        print(f"{question[::-1]:>{QUESTION}} = {answer:<{ANSWER}} {'right' if answer == right else f'no: {right}'}")
    accuracy = float(np.mean(np.argmax(answers, -1) == np.argmax(y, -1)))
    print(f"Accuracy: {accuracy:.3f} of the digits")
    if not options.quick and accuracy < 0.9:
        sys.exit("At least 0.9 was expected.")


if __name__ == "__main__":
    main()
