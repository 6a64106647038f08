"""Data sets: `data.dataset`."""

from rtune.config.catalog.part import Dataset
from rtune.registry import Registry

DATASETS = Registry(
    "data set",
    "datasets",
    Dataset,
    [
        Dataset(
            name="digits",
            label="digits",
            about="scikit-learn's 1,797 digits of 8 x 8 pixels; needs no files",
            build="rtune.robust.data:DIGITS",
        ),
        Dataset(
            name="fashion-mnist",
            label="Fashion-MNIST",
            about="70,000 grey images of 28 x 28 pixels (arXiv 1708.07747)",
            build="rtune.robust.data:FASHION_MNIST",
        ),
        Dataset(
            name="cifar10",
            label="CIFAR-10",
            about="60,000 images of 32 x 32 pixels in 10 classes (Krizhevsky 2009)",
            build="rtune.robust.data:CIFAR10",
        ),
        Dataset(
            name="cifar100",
            label="CIFAR-100",
            about="60,000 images of 32 x 32 pixels in 100 classes (Krizhevsky 2009)",
            build="rtune.robust.data:CIFAR100",
        ),
    ],
)
