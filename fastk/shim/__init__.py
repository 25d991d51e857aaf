"""A folder for `sys.path`, where `fastk run` puts it: processes that a program starts find `keras` in it.

`multiprocessing` hands `sys.path` to the processes that it spawns, and nothing else of how the program was started.
"""
