"""The files of a folder and their labels, and the datasets made of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fastk.messages import tell
from fastk.utils.data.dataset import AUTOTUNE, Dataset
from fastk.utils.data.rows import Rows

_LABEL_MODES = ("int", "categorical", "binary", None)
_SUBSETS = ("training", "validation", "both", None)


@dataclass
class DirectoryOptions:
    """What all the functions `..._dataset_from_directory` take, checked; their docstrings explain it."""

    directory: Any
    labels: Any
    label_mode: str | None
    class_names: list[str] | None
    batch_size: int | None
    shuffle: bool
    seed: int | None
    validation_split: float | None
    subset: str | None
    follow_links: bool
    verbose: bool

    def __post_init__(self):
        if self.labels not in ("inferred", None):
            if not isinstance(self.labels, (list, tuple)):
                raise ValueError(
                    "`labels` argument should be a list/tuple of integer labels, of the same size as the number of "
                    'files in the target directory; "inferred" to take the subdirectories for classes; or None for no '
                    f"labels. Received: labels={self.labels}"
                )
            if self.class_names:
                raise ValueError(
                    'You can only pass `class_names` if `labels="inferred"`. Received: labels='
                    f"{self.labels}, and class_names={self.class_names}"
                )
        if self.label_mode not in _LABEL_MODES:
            raise ValueError(
                '`label_mode` argument must be one of "int", "categorical", "binary", or None. Received: '
                f"label_mode={self.label_mode}"
            )
        if self.labels is None or self.label_mode is None:
            self.labels = self.label_mode = None
        if self.labels is None and self.class_names is not None:
            raise ValueError("When `labels=None` (no labels), argument `class_names` cannot be specified.")
        self._check_split()
        if self.seed is None:
            self.seed = int(np.random.randint(10**6))

    def _check_split(self) -> None:
        split, subset = self.validation_split, self.subset
        if split and not 0 < split < 1:
            raise ValueError(f"`validation_split` must be between 0 and 1, received: {split}")
        if bool(split) != bool(subset):
            raise ValueError("If `subset` is set, `validation_split` must be set, and inversely.")
        if subset not in _SUBSETS:
            raise ValueError(f'`subset` must be either "training", "validation" or "both", received: {subset}')
        if split and self.shuffle and self._seed_is_missing():
            raise ValueError(
                "If using `validation_split` and shuffling the data, you must provide a `seed` argument, to make sure "
                "that there is no overlap between the training and validation subset."
            )

    def _seed_is_missing(self) -> bool:
        return self.seed is None


@dataclass
class LabelledFiles:
    """Files in order, their labels (None for none) and the names of the classes."""

    paths: list[str]
    labels: np.ndarray | None
    class_names: list[str] | None

    def part(self, rows: slice) -> LabelledFiles:
        """Some of the files."""
        return LabelledFiles(self.paths[rows], None if self.labels is None else self.labels[rows], self.class_names)


def index_directory(options: DirectoryOptions, formats: tuple[str, ...]) -> LabelledFiles:
    """The files of a directory that end in one of `formats`, sorted, or shuffled by the seed."""
    directory, labels = os.fspath(options.directory), options.labels
    if labels == "inferred":
        folders = sorted(
            entry.name for entry in os.scandir(directory) if entry.is_dir() and not entry.name.startswith(".")
        )
        class_names = folders if options.class_names is None else list(options.class_names)
        if not set(class_names) <= set(folders):
            raise ValueError(
                "The `class_names` passed did not match the names of the subdirectories of the target directory. "
                f"Expected: {folders} (or a subset of it), but received: class_names={class_names}"
            )
        found = [list(_walk(os.path.join(directory, name), formats, options.follow_links)) for name in class_names]
        paths = [path for of_class in found for path in of_class]
        values = np.repeat(np.arange(len(found), dtype="int32"), [len(of_class) for of_class in found])
        files = LabelledFiles(paths, values, class_names)
    else:
        paths = list(_walk(directory, formats, options.follow_links))
        if labels is not None and len(labels) != len(paths):
            raise ValueError(
                "Expected the lengths of `labels` to match the number of files in the target directory. len(labels) "
                f"is {len(labels)} while we found {len(paths)} files in directory {directory}."
            )
        names = None if labels is None else [str(label) for label in sorted(set(labels))]
        files = LabelledFiles(paths, None if labels is None else np.asarray(labels), names)
    if options.verbose:
        classes = "" if files.class_names is None else f" belonging to {len(files.class_names)} classes"
        tell(f"Found {len(paths)} files{classes}.")
    if options.shuffle:
        order = np.random.RandomState(options.seed).permutation(len(paths))
        files = LabelledFiles(
            [files.paths[i] for i in order], None if files.labels is None else files.labels[order], files.class_names
        )
    return files


def _walk(directory: str, formats: tuple[str, ...], follow_links: bool) -> Iterator[str]:
    for root, _, names in sorted(os.walk(directory, followlinks=follow_links), key=lambda entry: entry[0]):
        for name in sorted(names):
            if name.lower().endswith(formats):
                yield os.path.join(root, name)


def datasets_of_files(
    options: DirectoryOptions,
    formats: tuple[str, ...],
    kind: str,
    load: Callable[[str], Any],
    batch: Callable[[Dataset, int], Dataset] = Dataset.batch,
) -> Any:
    """The dataset of a directory; for `subset="both"` a list of two.

    Args:
        options: what the user asked for.
        formats: endings of the files.
        kind: what the files are, for messages.
        load: makes an element's `x` of a path, on several threads.
        batch: makes batches of the dataset, of the given size.
    """
    files = index_directory(options, formats)
    if options.label_mode == "binary" and len(files.class_names or ()) != 2:
        raise ValueError(
            'When passing `label_mode="binary"`, there must be exactly 2 class_names. Received: class_names='
            f"{files.class_names}"
        )
    subsets = ["training", "validation"] if options.subset == "both" else [options.subset]
    made = []
    for subset in subsets:
        part = _subset(files, options, subset)
        if not part.paths:
            which = f"{subset} {kind}" if options.subset == "both" else kind
            raise ValueError(
                f"No {which} found in directory {os.fspath(options.directory)}. Allowed formats: {formats}"
            )
        # In the validation half of "both" the order is kept, as in Keras.
        shuffled = options.shuffle and not (options.subset == "both" and subset == "validation")
        made.append(_dataset(part, options, shuffled, load, batch))
    return made if options.subset == "both" else made[0]


def _subset(files: LabelledFiles, options: DirectoryOptions, subset: str | None) -> LabelledFiles:
    if subset is None:
        return files
    held_out = int((options.validation_split or 0) * len(files.paths))
    kept = len(files.paths) - held_out
    tell(f"Using {kept} files for training." if subset == "training" else f"Using {held_out} files for validation.")
    return files.part(slice(None, kept) if subset == "training" else slice(kept, None))


def _dataset(
    files: LabelledFiles,
    options: DirectoryOptions,
    shuffled: bool,
    load: Callable[[str], Any],
    batch: Callable[[Dataset, int], Dataset],
) -> Dataset:
    labels = None
    if files.labels is not None:
        labels = _encoded(files.labels, options.label_mode, len(files.class_names or ()))
    numbers: Dataset = Rows(lambda: np.arange(len(files.paths)), len(files.paths), lambda i: i, lambda rows: rows)
    if shuffled:
        numbers = numbers.shuffle(len(files.paths), seed=options.seed)

    def one(number: Any) -> Any:
        x = load(files.paths[number])
        return x if labels is None else (x, labels[number].clone())

    dataset = numbers.map(one, num_parallel_calls=AUTOTUNE)
    if options.batch_size is not None:
        dataset = batch(dataset, options.batch_size)
    dataset = dataset.prefetch(AUTOTUNE)
    dataset.class_names, dataset.file_paths = files.class_names, files.paths
    return dataset


def _encoded(labels: np.ndarray, mode: str | None, num_classes: int) -> torch.Tensor:
    numbers = torch.from_numpy(np.array(labels))
    if mode == "binary":
        return numbers.to(torch.float32).unsqueeze(-1)
    if mode == "categorical":
        return (numbers.unsqueeze(-1) == torch.arange(num_classes)).to(torch.float32)
    return numbers.to(torch.int32)


def check_format(format: str) -> None:
    """Keras's `format` names the library of the result; here there is one dataset for both."""
    if format not in ("tf", "grain"):
        raise ValueError(f'`format` should be either "tf" or "grain". Received: format={format}')
