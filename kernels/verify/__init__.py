"""How kernels are verified without a GPU; `docs/verifying_kernels.md` is the guide."""
