"""Weights of samples and classes."""

import numpy as np
import pytest
import torch

from fastk.training.data import ClassWeights, make_source


def weights(*args, **kwargs):
    return torch.cat([w for _, _, w in make_source(*args, **kwargs).epoch()])


X = np.zeros((4, 1))
LABELS = np.array([0, 1, 2, 1])


class TestClassWeights:
    @pytest.mark.parametrize(
        "y",
        [
            LABELS,
            LABELS[:, None],
            LABELS.astype("float32"),
            LABELS.astype("uint8"),
            LABELS + 0.2,  # rounded
            np.eye(3)[LABELS],
            np.eye(3, dtype=bool)[LABELS],
            np.eye(3, dtype="int8")[LABELS],
            torch.tensor(LABELS),
        ],
    )
    @pytest.mark.parametrize("batch_size", [1, 3, 4])
    def test_numbers(self, y, batch_size):
        got = weights(X, y, class_weight={0: 0.5, 1: 1.0, 2: 3.0}, batch_size=batch_size)
        assert got.dtype is torch.float32 and got.tolist() == [0.5, 1.0, 3.0, 1.0]

    def test_absent_classes_weigh_one(self):
        got = ClassWeights({-1: 2.0, np.int64(5): 3, 10**12: 4.0})(torch.tensor([-2, -1, 0, 5, 6, 10**12, 10**15]))
        assert got.tolist() == [1, 2, 1, 3, 1, 4, 1]

    def test_targets_in_time(self):
        assert ClassWeights({1: 2.0})(torch.eye(2)[None]).tolist() == [[1.0, 2.0]]

    @pytest.mark.parametrize("wrong", [[0.5, 1.0], {"a": 1.0}, {0: "heavy"}, {0.5: 1.0}, 3])
    def test_wrong_class_weight_raises(self, wrong):
        with pytest.raises(ValueError, match="must be a dict of class numbers to weights"):
            make_source(X, LABELS, class_weight=wrong)

    def test_empty_class_weight_is_none(self):
        assert next(make_source(X, LABELS, class_weight={}).epoch())[2] is None

    def test_without_targets_raises(self):
        with pytest.raises(ValueError, match="`y` is None"):
            make_source(X, class_weight={0: 2.0})

    def test_several_outputs_raise(self):
        with pytest.raises(ValueError, match="single output"):
            make_source(X, [LABELS, LABELS], class_weight={0: 2.0})


class TestProduct:
    @pytest.mark.parametrize("shape", [(4,), (4, 1)])
    def test_with_sample_weight(self, shape):
        sample_weight = np.array([1.0, 2.0, 3.0, 4.0]).reshape(shape)
        assert weights(X, LABELS, sample_weight, class_weight={1: 10.0}).tolist() == [1, 20, 3, 40]

    def test_with_weights_in_time(self):
        got = weights(X, LABELS, np.arange(8.0).reshape(4, 2), class_weight={1: 10.0})
        assert got.tolist() == [[0, 1], [20, 30], [4, 5], [60, 70]]

    def test_integer_weights(self):
        assert weights(X, LABELS, np.array([1, 2, 3, 4]), class_weight={1: 0.5}).tolist() == [1, 1, 3, 2]


class TestSampleWeight:
    def test_one_array_for_several_outputs(self):
        w = np.arange(4.0)
        _, _, got = next(make_source(X, {"a": LABELS, "b": [LABELS, LABELS]}, w).epoch())
        assert got["a"].tolist() == got["b"][0].tolist() == got["b"][1].tolist() == w.tolist()

    def test_one_array_with_more_than_a_weight_a_sample_raises(self):
        with pytest.raises(ValueError, match=r"one weight per sample.*\(4, 2\)"):
            make_source(X, [LABELS, LABELS], np.ones((4, 2)))

    def test_structure_of_the_targets(self):
        _, _, got = next(make_source(X, [LABELS, LABELS], [np.zeros(4), np.ones(4)]).epoch())
        assert got[0].sum() == 0 and got[1].sum() == 4

    def test_another_structure_raises(self):
        with pytest.raises(ValueError, match="one array per output"):
            make_source(X, [LABELS, LABELS], {"a": np.ones(4)})

    def test_alone(self):
        _, y, w = next(make_source(X, sample_weight=np.ones(4)).epoch())
        assert y is None and w.tolist() == [1] * 4
