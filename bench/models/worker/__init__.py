"""One provider's process: `python -m worker PROVIDER MODEL STEPS THREADS`, with this folder's parent on the path.

It is run under that bare name, and its files import each other relatively, because `import fastk.bench` would bring
torch into the processes of JAX and TensorFlow.
"""
