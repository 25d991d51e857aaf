"""How kernels are verified without a GPU; `docs/verifying_kernels.md` is the guide.

`interpreter` runs them on the CPU with every access checked and counted, `traffic` compares the counts with the least
that an op can move. `compiler`, `case` and `report` compile them to machine code and read the resources.
"""
