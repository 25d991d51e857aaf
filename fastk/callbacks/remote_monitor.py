"""`RemoteMonitor`: sends the results of every epoch to a server."""

from __future__ import annotations

import json

import numpy as np

from fastk.callbacks.callback import Callback
from fastk.distribution.files import is_writer
from fastk.user_warning import warn_user

_SECONDS = 10.0


class RemoteMonitor(Callback):
    """Posts the epoch's number and logs, as JSON, to `root + path`; a server that does not answer is warned of.

    Args:
        root: the server, such as `"http://localhost:9000"`.
        path: on the server.
        field: the field of a form that holds the JSON, where it is not sent as such.
        headers: further HTTP headers.
        send_as_json: whether the body is the JSON itself, in place of a form.
    """

    def __init__(
        self,
        root: str = "http://localhost:9000",
        path: str = "/publish/epoch/end/",
        field: str = "data",
        headers: dict[str, str] | None = None,
        send_as_json: bool = False,
    ):
        super().__init__()
        if not root.startswith(("http://", "https://")):
            raise ValueError(f"`root` must start with http:// or https://. Received: {root!r}")
        self.root, self.path, self.field, self.headers = root, path, field, headers
        self.send_as_json = send_as_json

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if not is_writer():
            return
        import urllib.parse
        import urllib.request

        text = json.dumps({"epoch": epoch, **(logs or {})}, default=lambda value: np.asarray(value).tolist())
        if self.send_as_json:
            body, kind = text.encode(), "application/json"
        else:
            body, kind = urllib.parse.urlencode({self.field: text}).encode(), "application/x-www-form-urlencoded"
        headers = {"Content-Type": kind, **(self.headers or {})}
        request = urllib.request.Request(self.root + self.path, body, headers)
        try:
            urllib.request.urlopen(request, timeout=_SECONDS).close()
        except OSError as error:
            warn_user(f"Could not reach RemoteMonitor root server at {self.root}: {error}")
