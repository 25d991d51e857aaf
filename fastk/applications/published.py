"""The files of weights that Keras publishes, and where they are kept."""

from __future__ import annotations

from dataclasses import dataclass

from fastk import utils
from fastk.errors import FileMissing

ORIGIN = "https://storage.googleapis.com"
APPLICATIONS = f"{ORIGIN}/tensorflow/keras-applications"
TF_KERNELS = "_weights_tf_dim_ordering_tf_kernels"


@dataclass(frozen=True)
class Published:
    """One model's weights on Keras's server.

    Attributes:
        url: of the folder.
        top, no_top: the names of the files with and without the classifier.
        hashes: of these files, MD5 or SHA-256; None where Keras publishes none.
        cached: the names under which they are kept, where these are others.
    """

    url: str
    top: str
    no_top: str
    hashes: tuple[str | None, str | None] = (None, None)
    cached: tuple[str, str] | None = None

    def path(self, include_top: bool) -> str:
        """The file on this machine, downloaded where it is not there yet."""
        which = 0 if include_top else 1
        file = (self.top, self.no_top)[which]
        return download((self.cached or (self.top, self.no_top))[which], f"{self.url}/{file}", self.hashes[which])


def tf_kernels(folder: str, name: str, hashes: tuple[str, str]) -> Published:
    """Weights that are named as those of the first families are."""
    stem = f"{name}{TF_KERNELS}"
    return Published(f"{APPLICATIONS}/{folder}", f"{stem}.h5", f"{stem}_notop.h5", hashes)


def download(name: str, url: str, file_hash: str | None) -> str:
    """The path of `url` in Keras's folder of models, `~/.keras/models`; downloaded where it is not there.

    Raises:
        FileMissing: it is not there and cannot be downloaded; says what to place where.
    """
    try:
        return utils.get_file(name, url, cache_subdir="models", file_hash=file_hash)
    except OSError as error:
        raise FileMissing(
            f"{name} is not on this machine: {error}. For a model without published weights pass `weights=None`, or "
            "the path of a file of your own."
        ) from error
