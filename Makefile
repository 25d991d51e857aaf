# make train   installs what is missing into .venv, trains a network on handwritten digits
# make test    installs what is missing into .venv, runs every check
.PHONY: train test

BIN := .venv/bin

train:
	@sh tools/install.sh examples
	$(BIN)/python examples/digits.py

# Tests run in processes beside each other, hence one thread each.
test: export OMP_NUM_THREADS := 1
test:
	@sh tools/install.sh dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --benchmark-disable --timeout 120
