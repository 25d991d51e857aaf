"""Layers (`keras.layers`)."""

from typing import Any

from fastk.errors import missing_name
from fastk.layers.activations.activation import Activation
from fastk.layers.activations.prelu import PReLU
from fastk.layers.activations.relu import ELU, LeakyReLU, ReLU
from fastk.layers.activations.softmax import Softmax
from fastk.layers.attention.additive_attention import AdditiveAttention
from fastk.layers.attention.attention import Attention
from fastk.layers.attention.grouped_query_attention import GroupedQueryAttention as GroupQueryAttention
from fastk.layers.attention.multi_head_attention import MultiHeadAttention
from fastk.layers.convolutional.conv import Conv1D, Conv2D, Conv3D
from fastk.layers.convolutional.conv_transpose import Conv1DTranspose, Conv2DTranspose, Conv3DTranspose
from fastk.layers.convolutional.depthwise_conv import DepthwiseConv1D, DepthwiseConv2D
from fastk.layers.convolutional.separable_conv import SeparableConv1D, SeparableConv2D
from fastk.layers.core.dense import Dense
from fastk.layers.core.einsum_dense import EinsumDense
from fastk.layers.core.embedding import Embedding
from fastk.layers.core.identity import Identity
from fastk.layers.core.input_layer import Input, InputLayer
from fastk.layers.core.lambda_layer import Lambda
from fastk.layers.core.masking import Masking
from fastk.layers.core.reversible_embedding import ReversibleEmbedding
from fastk.layers.core.torch_module_wrapper import TorchModuleWrapper
from fastk.layers.core.wrapper import Wrapper
from fastk.layers.input_spec import InputSpec
from fastk.layers.layer import Layer
from fastk.layers.merging.concatenate import Concatenate, concatenate
from fastk.layers.merging.dot import Dot, dot
from fastk.layers.merging.elementwise import (
    Add,
    Average,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    maximum,
    minimum,
    multiply,
    subtract,
)
from fastk.layers.normalization.batch_normalization import BatchNormalization
from fastk.layers.normalization.group_normalization import GroupNormalization
from fastk.layers.normalization.layer_normalization import LayerNormalization
from fastk.layers.normalization.rms_normalization import RMSNormalization
from fastk.layers.normalization.spectral_normalization import SpectralNormalization
from fastk.layers.normalization.unit_normalization import UnitNormalization
from fastk.layers.pooling.adaptive_pooling import (
    AdaptiveAveragePooling1D,
    AdaptiveAveragePooling2D,
    AdaptiveAveragePooling3D,
    AdaptiveMaxPooling1D,
    AdaptiveMaxPooling2D,
    AdaptiveMaxPooling3D,
)
from fastk.layers.pooling.average_pooling import AveragePooling1D, AveragePooling2D, AveragePooling3D
from fastk.layers.pooling.global_pooling import (
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAveragePooling3D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    GlobalMaxPooling3D,
)
from fastk.layers.pooling.max_pooling import MaxPooling1D, MaxPooling2D, MaxPooling3D
from fastk.layers.preprocessing.category_encoding import CategoryEncoding
from fastk.layers.preprocessing.discretization import Discretization
from fastk.layers.preprocessing.hashed_crossing import HashedCrossing
from fastk.layers.preprocessing.hashing import Hashing
from fastk.layers.preprocessing.images.colors import (
    RandomBrightness,
    RandomColorDegeneration,
    RandomContrast,
    RandomGaussianBlur,
    RandomGrayscale,
    RandomHue,
    RandomInvert,
    RandomPosterization,
    RandomSaturation,
    RandomSharpness,
)
from fastk.layers.preprocessing.images.distortions import RandomElasticTransform, RandomPerspective
from fastk.layers.preprocessing.images.flips import RandomFlip
from fastk.layers.preprocessing.images.max_num_bounding_boxes import MaxNumBoundingBoxes
from fastk.layers.preprocessing.images.mixing import CutMix, MixUp, RandomErasing
from fastk.layers.preprocessing.images.policies import AugMix, RandAugment, RandomColorJitter
from fastk.layers.preprocessing.images.sizes import CenterCrop, RandomCrop, Resizing
from fastk.layers.preprocessing.images.tones import (
    AutoContrast,
    ContrastLimitedAdaptiveHistogramEqualization,
    Equalization,
    Solarization,
)
from fastk.layers.preprocessing.images.warps import RandomRotation, RandomShear, RandomTranslation, RandomZoom
from fastk.layers.preprocessing.integer_lookup import IntegerLookup
from fastk.layers.preprocessing.mel_spectrogram import MelSpectrogram
from fastk.layers.preprocessing.normalization import Normalization
from fastk.layers.preprocessing.pipeline import Pipeline
from fastk.layers.preprocessing.rescaling import Rescaling
from fastk.layers.preprocessing.stft_spectrogram import STFTSpectrogram
from fastk.layers.preprocessing.string_lookup import StringLookup
from fastk.layers.preprocessing.text_vectorization import TextVectorization
from fastk.layers.regularization.activity_regularization import ActivityRegularization
from fastk.layers.regularization.dropout import Dropout, SpatialDropout1D, SpatialDropout2D, SpatialDropout3D
from fastk.layers.regularization.noise import AlphaDropout, GaussianDropout, GaussianNoise
from fastk.layers.reshaping.cropping import Cropping1D, Cropping2D, Cropping3D
from fastk.layers.reshaping.flatten import Flatten
from fastk.layers.reshaping.permute import Permute
from fastk.layers.reshaping.repeat_vector import RepeatVector
from fastk.layers.reshaping.reshape import Reshape
from fastk.layers.reshaping.up_sampling import UpSampling1D, UpSampling2D, UpSampling3D
from fastk.layers.reshaping.zero_padding import ZeroPadding1D, ZeroPadding2D, ZeroPadding3D
from fastk.layers.rnn.bidirectional import Bidirectional
from fastk.layers.rnn.conv_lstm import ConvLSTM1D, ConvLSTM2D, ConvLSTM3D
from fastk.layers.rnn.gru import GRU, GRUCell
from fastk.layers.rnn.lstm import LSTM, LSTMCell
from fastk.layers.rnn.rnn import RNN
from fastk.layers.rnn.simple_rnn import SimpleRNN, SimpleRNNCell
from fastk.layers.rnn.stacked_rnn_cells import StackedRNNCells
from fastk.layers.rnn.time_distributed import TimeDistributed
from fastk.layers.serialization import deserialize, serialize

AvgPool1D, AvgPool2D, AvgPool3D = AveragePooling1D, AveragePooling2D, AveragePooling3D
Convolution1D, Convolution2D, Convolution3D = Conv1D, Conv2D, Conv3D
Convolution1DTranspose, Convolution2DTranspose, Convolution3DTranspose = (
    Conv1DTranspose,
    Conv2DTranspose,
    Conv3DTranspose,
)
GlobalAvgPool1D, GlobalAvgPool2D, GlobalAvgPool3D = (
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAveragePooling3D,
)
GlobalMaxPool1D, GlobalMaxPool2D, GlobalMaxPool3D = GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalMaxPooling3D
MaxPool1D, MaxPool2D, MaxPool3D = MaxPooling1D, MaxPooling2D, MaxPooling3D
SeparableConvolution1D, SeparableConvolution2D = SeparableConv1D, SeparableConv2D

__all__ = [
    "ELU",
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "ActivityRegularization",
    "AdaptiveAveragePooling1D",
    "AdaptiveAveragePooling2D",
    "AdaptiveAveragePooling3D",
    "AdaptiveMaxPooling1D",
    "AdaptiveMaxPooling2D",
    "AdaptiveMaxPooling3D",
    "Add",
    "AdditiveAttention",
    "AlphaDropout",
    "Attention",
    "AugMix",
    "AutoContrast",
    "Average",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "AvgPool1D",
    "AvgPool2D",
    "AvgPool3D",
    "BatchNormalization",
    "Bidirectional",
    "CategoryEncoding",
    "CenterCrop",
    "Concatenate",
    "ContrastLimitedAdaptiveHistogramEqualization",
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Conv3DTranspose",
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
    "Convolution1D",
    "Convolution1DTranspose",
    "Convolution2D",
    "Convolution2DTranspose",
    "Convolution3D",
    "Convolution3DTranspose",
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "CutMix",
    "Dense",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "Discretization",
    "Dot",
    "Dropout",
    "EinsumDense",
    "Embedding",
    "Equalization",
    "Flatten",
    "GRUCell",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalAvgPool3D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPool3D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "GroupNormalization",
    "GroupQueryAttention",
    "HashedCrossing",
    "Hashing",
    "Identity",
    "Input",
    "InputLayer",
    "InputSpec",
    "IntegerLookup",
    "LSTMCell",
    "Lambda",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Masking",
    "MaxNumBoundingBoxes",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPool3D",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "Maximum",
    "MelSpectrogram",
    "Minimum",
    "MixUp",
    "MultiHeadAttention",
    "Multiply",
    "Normalization",
    "PReLU",
    "Permute",
    "Pipeline",
    "RMSNormalization",
    "RandAugment",
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomCrop",
    "RandomElasticTransform",
    "RandomErasing",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterization",
    "RandomRotation",
    "RandomSaturation",
    "RandomSharpness",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "Resizing",
    "ReversibleEmbedding",
    "STFTSpectrogram",
    "SeparableConv1D",
    "SeparableConv2D",
    "SeparableConvolution1D",
    "SeparableConvolution2D",
    "SimpleRNN",
    "SimpleRNNCell",
    "Softmax",
    "Solarization",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "SpectralNormalization",
    "StackedRNNCells",
    "StringLookup",
    "Subtract",
    "TextVectorization",
    "TimeDistributed",
    "TorchModuleWrapper",
    "UnitNormalization",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
    "Wrapper",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
    "add",
    "average",
    "concatenate",
    "deserialize",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "serialize",
    "subtract",
]


def __getattr__(name: str) -> Any:
    raise missing_name("keras.layers", name, __all__)
