"""`ConvLSTM1D`, `2D`, `3D`: LSTMs whose products with the kernels are convolutions."""

from __future__ import annotations

from typing import Any

from fastk import config, ops
from fastk.layers.arguments import standardize_padding, standardize_tuple
from fastk.layers.input_spec import InputSpec
from fastk.layers.rnn.cell_layer import CellLayer
from fastk.layers.rnn.lstm import LSTMCell
from fastk.layers.windows import windows_shape


class ConvLSTMCell(LSTMCell):
    """One step of a convolutional LSTM: `LSTMCell`, with images for vectors and convolutions for matrix products.

    Args:
        rank: the number of spatial axes, 1 to 3.
        filters: the number of output channels.
        kernel_size: the size of both kernels.
        strides, padding, dilation_rate: of the convolution of the inputs; that of the states has strides and dilation 1
            and keeps their size.
        data_format: `"channels_last"` or `"channels_first"`.

    The other arguments are those of `LSTMCell`; with dropout each gate has a mask of its own.

    Source: Shi et al., 2015, "Convolutional LSTM network: a machine learning approach for precipitation nowcasting",
    without the connections from the cell's state to the gates.
    """

    def __init__(
        self,
        rank: int,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        **kwargs: Any,
    ):
        super().__init__(filters, **kwargs)
        self.rank = rank
        self.filters = filters
        self.kernel_size = standardize_tuple(kernel_size, rank, "kernel_size")
        self.strides = standardize_tuple(strides, rank, "strides")
        self.padding = standardize_padding(padding)
        self.data_format = config.standardize_data_format(data_format)
        self.dilation_rate = standardize_tuple(dilation_rate, rank, "dilation_rate")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                "Specifying `strides > 1` is not compatible with `dilation_rate > 1`. Please provide `strides=1` or "
                f"`dilation_rate=1`. Received: strides={self.strides} and dilation_rate={self.dilation_rate}"
            )
        self.dropout_mask_count = self.gates
        self.input_spec = InputSpec(ndim=rank + 2)
        self._channel_axis = -1 if self.data_format == "channels_last" else 1
        self._input_shape: tuple = ()

    def build(self, input_shape: Any) -> None:
        """Makes the kernels `(*kernel_size, channels, 4 * filters)` and the bias."""
        if None in input_shape[1:]:
            raise ValueError(
                "ConvLSTM layers only support static input shapes for the spatial dimension and the channels. "
                f"Received invalid input shape: input_shape={input_shape}"
            )
        self._input_shape = tuple(input_shape[1:])
        self.compute_output_shape(input_shape)
        columns = self.gates * self.filters
        channels = input_shape[self._channel_axis]
        self.kernel = self._add_weight_with_options("kernel", (*self.kernel_size, channels, columns))
        recurrent_shape = (*self.kernel_size, self.filters, columns)
        self.recurrent_kernel = self._add_weight_with_options("recurrent_kernel", recurrent_shape, "recurrent")
        self.bias = self._make_bias(columns) if self.use_bias else None

    def get_initial_state(self, batch_size: int | None = None) -> list[Any]:
        """Zeros of the output's shape, for `h` and `c`."""
        shape = self.compute_output_shape((batch_size, *self._input_shape))[0]
        return [ops.zeros(shape, dtype=self.compute_dtype) for _ in range(self.state_count)]

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        """The output for one step, and the new states."""
        h, c = states
        z = self._convolve(inputs, self.kernel.value, self.get_dropout_mask(inputs) if training else None,
                           strides=self.strides, padding=self.padding, dilation_rate=self.dilation_rate)  # fmt: skip
        h_mask = self.get_recurrent_dropout_mask(h) if training else None
        z = z + self._convolve(h, self.recurrent_kernel.value, h_mask, padding="same")
        if self.bias is not None:
            z = z + self.bias.value.view(-1, *(1,) * self.rank if self._channel_axis == 1 else ())
        z_i, z_f, z_c, z_o = z.chunk(self.gates, self._channel_axis)
        c = self.recurrent_activation(z_f) * c + self.recurrent_activation(z_i) * self.activation(z_c)
        h = self.recurrent_activation(z_o) * self.activation(c)
        return h, [h, c]

    def _convolve(self, x: Any, kernel: Any, mask: Any, **options: Any) -> Any:
        """The convolution for all gates; where each has a mask, its masked `x` is a group of channels of its own."""
        if mask is not None:
            last = self._channel_axis == -1
            x = (x * mask).movedim(0, -2 if last else 1)
            x = x.flatten(-2) if last else x.flatten(1, 2)
        return ops.conv(x, kernel, data_format=self.data_format, **options)

    def compute_output_shape(self, inputs_shape: Any, states_shape: Any = None) -> tuple:
        """The shape of the output, and those of both states."""
        shape = windows_shape(
            inputs_shape,
            self.filters,
            self.kernel_size,
            self.strides,
            self.padding,
            self.data_format,
            self.dilation_rate,
        )
        return shape, [shape, shape]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = super().get_config()
        own.pop("units")
        names = ("rank", "filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate")
        return {**own, **{name: getattr(self, name) for name in names}}


class _ConvLSTM(CellLayer):
    rank: int
    _cell_options = (
        *(name for name in CellLayer._cell_options if name != "units"),
        "filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate",
        "recurrent_activation", "unit_forget_bias",
    )  # fmt: skip

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        **kwargs: Any,
    ):
        cell = ConvLSTMCell(
            self.rank,
            filters,
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            unit_forget_bias=unit_forget_bias,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            seed=seed,
            name="conv_lstm_cell",
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
        )
        super().__init__(
            cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
        self.input_spec = InputSpec(ndim=self.rank + 3)

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """The shape of the output, and those of the states with `return_state`."""
        batch_size, steps, *step = sequences_shape
        state = self.cell.compute_output_shape((batch_size, *step))[0]
        output = (batch_size, steps, *state[1:]) if self.return_sequences else state
        return (output, state, state) if self.return_state else output

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: value for name, value in super().get_config().items() if name != "rank"}


class ConvLSTM1D(_ConvLSTM):
    """A convolutional LSTM over sequences of `(rows, channels)`.

    Args:
        filters: the number of output channels.
        kernel_size: the size of a window.
        strides, padding, dilation_rate: of the windows over the inputs, as of `Conv1D`.
        data_format: `"channels_last"` or `"channels_first"`.
        activation to bias_regularizer: as of `LSTMCell`.
        activity_regularizer: a penalty of the output.
        kernel_constraint to seed: as of `LSTMCell`.
        return_sequences, return_state, go_backwards, stateful: as of `RNN`.

    Input `(batch, steps, rows, channels)`, output `(batch, new_rows, filters)` or, for sequences, `(batch, steps,
    new_rows, filters)`; the states are `h` and `c`, of the size of one output.

    >>> import fastk
    >>> fastk.layers.ConvLSTM1D(4, 3)(fastk.ops.ones((2, 5, 8, 3))).shape
    torch.Size([2, 6, 4])
    """

    rank = 1


class ConvLSTM2D(_ConvLSTM):
    """A convolutional LSTM over sequences of images; arguments as of `ConvLSTM1D`, with two sizes.

    Input `(batch, steps, rows, columns, channels)`, output `(batch, new_rows, new_columns, filters)`.

    >>> import fastk
    >>> fastk.layers.ConvLSTM2D(4, 3, padding="same", return_sequences=True)(fastk.ops.ones((2, 5, 8, 8, 3))).shape
    torch.Size([2, 5, 8, 8, 4])
    """

    rank = 2


class ConvLSTM3D(_ConvLSTM):
    """A convolutional LSTM over sequences of volumes; arguments as of `ConvLSTM1D`, with three sizes.

    Input `(batch, steps, depth, rows, columns, channels)`, output of as many axes without the steps.

    >>> import fastk
    >>> fastk.layers.ConvLSTM3D(4, 2)(fastk.ops.ones((2, 2, 4, 4, 4, 3))).shape
    torch.Size([2, 3, 3, 3, 4])
    """

    rank = 3
