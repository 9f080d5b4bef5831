"""What the classes of a dataset are called in a caption: "a photo of ..."."""

from __future__ import annotations

from vaebench.compat import ensure_torchvision
from vaebench.errors import UserError

_DIGITS = tuple(
    f"the digit {name}" for name in ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
)
_CLOTHES = (
    *("a T-shirt", "trousers", "a pullover", "a dress", "a coat"),
    *("a sandal", "a shirt", "a sneaker", "a bag", "an ankle boot"),
)
_CIFAR10 = (
    *("an airplane", "an automobile", "a bird", "a cat", "a deer"),
    *("a dog", "a frog", "a horse", "a ship", "a truck"),
)
_NAMES = {
    "digits": _DIGITS,
    "mnist": _DIGITS,
    "mnist_32": _DIGITS,
    "fashion_mnist": _CLOTHES,
    "fashion_mnist_32": _CLOTHES,
    "cifar10": _CIFAR10,
    "photos": ("a temple", "a flower"),
}


def class_names(dataset: str) -> tuple[str, ...]:
    """The classes of a dataset in the order of their labels, each with its article.

    Those of ImageNet are WordNet's, as timm lists them: the first of their synonyms, in the order of the folders.

    Raises:
        UserError: its classes have no names.
    """
    if dataset == "imagenet":
        return _imagenet()
    if dataset not in _NAMES:
        raise UserError(
            f"dataset={dataset}: its classes have no names; give them (reference.names=[...]) or captions "
            f"(reference.path=FILE). There are names for {', '.join(sorted([*_NAMES, 'imagenet']))}"
        )
    return _NAMES[dataset]


def _imagenet() -> tuple[str, ...]:
    ensure_torchvision()
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    names = [info.index_to_description(label).split(",")[0] for label in range(info.num_classes())]
    return tuple(f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}" for name in names)
