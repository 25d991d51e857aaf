"""Datasets of one's own files and arrays, with the chained methods that scripts for `tf.data` call.

dataset.py          `Dataset`: a sequence that can be passed over again and again, and what is made of one
rows.py             `Rows`: a dataset whose elements have numbers, shuffled and batched by these
elements.py         what an element is: structures of tensors and strings, stacked and taken apart
directory.py        the files of a folder and their labels
images.py, text.py, audio.py, timeseries.py     the public functions
split.py            `split_dataset`
"""

from fastk.utils.data.audio import audio_dataset_from_directory
from fastk.utils.data.dataset import Dataset
from fastk.utils.data.images import image_dataset_from_directory
from fastk.utils.data.split import split_dataset
from fastk.utils.data.text import text_dataset_from_directory
from fastk.utils.data.timeseries import timeseries_dataset_from_array

__all__ = [
    "Dataset",
    "audio_dataset_from_directory",
    "image_dataset_from_directory",
    "split_dataset",
    "text_dataset_from_directory",
    "timeseries_dataset_from_array",
]
