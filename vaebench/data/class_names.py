"""What the classes of a dataset are called in a caption: "a photo of ..."."""

from __future__ import annotations

from vaebench.compat import ensure_torchvision
from vaebench.config.choices import about, choices
from vaebench.errors import UserError


def class_names(dataset: str) -> tuple[str, ...]:
    """The classes of a dataset in the order of their labels, each with its article.

    Those of ImageNet are WordNet's, as timm lists them: the first of their synonyms, in the order of the folders.

    Raises:
        UserError: its classes have no names.
    """
    if dataset == "imagenet":
        return _imagenet()
    found = about(dataset).get("classes")
    if found is None:
        named = sorted(["imagenet", *(name for name in choices("dataset") if "classes" in about(name))])
        raise UserError(
            f"dataset={dataset}: its classes have no names; give them (reference.names=[...]) or captions "
            f"(reference.path=FILE). There are names for {', '.join(named)}"
        )
    return class_names(found) if isinstance(found, str) else tuple(found)


def _imagenet() -> tuple[str, ...]:
    ensure_torchvision()
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    names = [info.index_to_description(label).split(",")[0] for label in range(info.num_classes())]
    return tuple(f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}" for name in names)
