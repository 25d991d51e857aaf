"""The search for kernel configurations: their space, validity, timing and database."""

if __name__ != "fastk.autotune":
    raise ImportError(
        f"This folder is the package fastk.autotune, not {__name__!r}: write `import fastk.autotune`. "
        "Where another package named 'autotune' was meant, start Python outside the fastk repository."
    )
