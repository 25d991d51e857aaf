"""Proofs about kernels that need no GPU."""
