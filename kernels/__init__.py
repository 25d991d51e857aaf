"""Device code: one folder an op, each with its contract and the implementations beside it."""

if __name__ != "fastk.kernels":
    raise ImportError(
        f"This folder is the package fastk.kernels, not {__name__!r}: write `import fastk.kernels`. "
        "Where another package named 'kernels' was meant, start Python outside the fastk repository."
    )
