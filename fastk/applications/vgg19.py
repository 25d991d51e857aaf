"""VGG19: Simonyan and Zisserman, 2015, https://arxiv.org/abs/1409.1556."""

from fastk.applications.frame import application
from fastk.applications.imagenet_utils import decode_predictions, preprocessing
from fastk.applications.vgg16 import architecture

__all__ = ["VGG19", "decode_predictions", "preprocess_input"]

VGG19 = application(
    __name__,
    "VGG19",
    architecture("vgg19", (2, 2, 4, 4, 4), ("cbe5617147190e668d6c5d5026f83318", "253f8cb515780f3b799900260a226db6")),
)
preprocess_input = preprocessing("caffe")
