"""`text_dataset_from_directory`."""

from __future__ import annotations

from typing import Any

from fastk.utils.data.directory import DirectoryOptions, check_format, datasets_of_files


def text_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: list[str] | None = None,
    batch_size: int | None = 32,
    max_length: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    follow_links: bool = False,
    format: str = "tf",
    verbose: bool = True,
) -> Any:
    """A dataset of the `.txt` files in a folder, read as they are used. Its attribute `class_names` has the classes.

    Args:
        directory: the folder; with inferred labels, one subfolder a class.
        labels: `"inferred"`, None for no labels, or a list of integers, one for each file in the order of sorted paths.
        label_mode: `"int"` for int32 `(batch,)`; `"categorical"` for float32 `(batch, classes)`; `"binary"` for float32
            `(batch, 1)`; None for no labels.
        class_names: the subfolders to use, in the order of the classes; None for all, sorted.
        batch_size: texts in a batch; None for single texts.
        max_length: characters of a text that are kept; None for all.
        shuffle: whether each pass has an order of its own; else files come sorted.
        seed: makes the orders reproducible.
        validation_split: the share of files held out for validation.
        subset: `"training"`, `"validation"`, or `"both"` for a list of two datasets; goes with `validation_split`.
        follow_links: whether links to folders are followed.
        format: `"tf"` or `"grain"`, which make no difference: neither library is needed.
        verbose: whether to say how many files were found.

    Returns:
        A dataset of arrays of strings, or of pairs `(texts, labels)`. Bytes that are not UTF-8 become U+FFFD.

    >>> import os, pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("bad", "good"):
    ...         os.mkdir(os.path.join(folder, name))
    ...         _ = pathlib.Path(folder, name, "1.txt").write_text(f"a {name} film")
    ...     data = text_dataset_from_directory(folder, shuffle=False, verbose=False)
    ...     [(texts.tolist(), labels.tolist()) for texts, labels in data]
    [(['a bad film', 'a good film'], [0, 1])]
    """
    options = DirectoryOptions(
        directory, labels, label_mode, class_names, batch_size, shuffle, seed, validation_split, subset, follow_links,
        verbose,
    )  # fmt: skip
    check_format(format)

    def load(path: str) -> str:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read() if max_length is None else file.read(max_length)

    return datasets_of_files(options, (".txt",), "text files", load)
