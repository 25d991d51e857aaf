# make train   installs what is missing into .venv, trains a network on handwritten digits
# make test    installs what is missing into .venv, runs every check
# make docs    builds the documentation, and says where its first page is
# make kernel-report    compiles every kernel without a GPU and shows what became of it
.PHONY: train test docs kernel-report

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

docs:
	@sh tools/install.sh docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "The documentation is in site: open $(CURDIR)/site/index.html"

# Compiles every shipped configuration of every kernel for sm_80, sm_90 and sm_100; no GPU is needed.
kernel-report:
	@sh tools/install.sh dev
	$(BIN)/python -m fastk.kernels report
