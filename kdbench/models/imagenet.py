"""Networks for images of 224 pixels: timm's, each with the features that its classifier sees.

Their parameters and layers are torchvision's, which Tf-KD's released ImageNet code trains. So is the start
of the ResNets: timm would set the last scale of each block to zero, torchvision does not. MobileNetV1 and V2
start as timm has them.
"""

from functools import partial
from typing import Any

from torch import nn

from kdbench.models.output import Network


def _timm(architecture: str, classes: int, channels: int, **options: Any) -> nn.Module:  # noqa: ANN401 - timm's
    """A network of timm in two parts, (N, channels, 224, 224) to K = classes.

    Its body, without a classifier, ends in the pooled features.
    """
    import timm

    body: Any = timm.create_model(architecture, num_classes=classes, in_chans=channels, **options)
    classifier = body.get_classifier()
    body.reset_classifier(0)
    return Network(body, classifier)


resnet18 = partial(_timm, "resnet18", zero_init_last=False)  # D = 512
resnet34 = partial(_timm, "resnet34", zero_init_last=False)  # D = 512
resnet50 = partial(_timm, "resnet50", zero_init_last=False)  # D = 2048
resnet101 = partial(_timm, "resnet101", zero_init_last=False)  # D = 2048
resnet152 = partial(_timm, "resnet152", zero_init_last=False)  # D = 2048
resnext101_32x8d = partial(_timm, "resnext101_32x8d", zero_init_last=False)  # D = 2048
densenet121 = partial(_timm, "densenet121")  # D = 1024
mobilenetv1 = partial(_timm, "mobilenetv1_100", act_layer="relu")  # D = 1024; timm itself has ReLU6
mobilenetv2 = partial(_timm, "mobilenetv2_100")  # D = 1280
