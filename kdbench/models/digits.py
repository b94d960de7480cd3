"""Two small networks for 8x8 digits, for the quick start and the tests: a student and a better teacher.

Trained on the first 400 of scikit-learn's digits, 30 epochs of SGD with batches of 32 and no augmentation,
the student attains 89 % and the teacher 94 % on the other 1,397 (mean of three seeds), in 0.2 and 2 seconds
on one core.
"""

from torch import nn

from kdbench.models.output import Network
from kdbench.models.unit import unit


def digits_mlp(classes: int, channels: int) -> nn.Module:
    """The student: (N, channels, 8, 8), this size only, to K = classes, D = 32. One hidden layer."""
    body = nn.Sequential(nn.Flatten(), nn.Linear(channels * 8 * 8, 32), nn.ReLU(inplace=True))
    return Network(body, nn.Linear(32, classes))


def digits_cnn(classes: int, channels: int) -> nn.Module:
    """The teacher: (N, channels, 8, 8), this size only, to K = classes, D = 128. Three maps."""
    body = nn.Sequential(
        *unit(nn.Conv2d(channels, 16, 3, padding=1, bias=False)),
        *unit(nn.Conv2d(16, 32, 3, padding=1, bias=False)),
        nn.MaxPool2d(2),
        *unit(nn.Conv2d(32, 32, 3, padding=1, bias=False)),
        nn.MaxPool2d(2),
        nn.Flatten(),
    )
    return Network(body, nn.Linear(32 * 2 * 2, classes), taps=(2, 5, 9))
