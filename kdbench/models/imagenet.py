"""Networks for images of 224 pixels: timm's, each with the features that its classifier sees.

Their parameters and layers are torchvision's, which Tf-KD's released ImageNet code trains. So is the start
of the ResNets: timm would set the last scale of each block to zero, torchvision does not. MobileNetV1 and V2
start as timm has them.
"""

from typing import Any

from torch import nn

from kdbench.models.output import Network


def resnet18(classes: int, channels: int) -> nn.Module:
    """ResNet18: (N, channels, 224, 224) to K = classes, D = 512."""
    return _timm("resnet18", classes, channels, zero_init_last=False)


def resnet34(classes: int, channels: int) -> nn.Module:
    """ResNet34: (N, channels, 224, 224) to K = classes, D = 512."""
    return _timm("resnet34", classes, channels, zero_init_last=False)


def resnet50(classes: int, channels: int) -> nn.Module:
    """ResNet50: (N, channels, 224, 224) to K = classes, D = 2048."""
    return _timm("resnet50", classes, channels, zero_init_last=False)


def resnet101(classes: int, channels: int) -> nn.Module:
    """ResNet101: (N, channels, 224, 224) to K = classes, D = 2048."""
    return _timm("resnet101", classes, channels, zero_init_last=False)


def resnet152(classes: int, channels: int) -> nn.Module:
    """ResNet152: (N, channels, 224, 224) to K = classes, D = 2048."""
    return _timm("resnet152", classes, channels, zero_init_last=False)


def resnext101_32x8d(classes: int, channels: int) -> nn.Module:
    """ResNeXt101 32x8d: (N, channels, 224, 224) to K = classes, D = 2048."""
    return _timm("resnext101_32x8d", classes, channels, zero_init_last=False)


def densenet121(classes: int, channels: int) -> nn.Module:
    """DenseNet121: (N, channels, 224, 224) to K = classes, D = 1024."""
    return _timm("densenet121", classes, channels)


def mobilenetv1(classes: int, channels: int) -> nn.Module:
    """MobileNetV1: (N, channels, 224, 224) to K = classes, D = 1024; with ReLU, where timm has ReLU6."""
    return _timm("mobilenetv1_100", classes, channels, act_layer="relu")


def mobilenetv2(classes: int, channels: int) -> nn.Module:
    """MobileNetV2: (N, channels, 224, 224) to K = classes, D = 1280."""
    return _timm("mobilenetv2_100", classes, channels)


def _timm(architecture: str, classes: int, channels: int, **options: Any) -> nn.Module:  # noqa: ANN401 - timm's
    """A network of timm in two parts; its body without a classifier ends in the pooled features."""
    import timm

    body: Any = timm.create_model(architecture, num_classes=classes, in_chans=channels, **options)
    classifier = body.get_classifier()
    body.reset_classifier(0)
    return Network(body, classifier)
