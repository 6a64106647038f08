"""Names of parts as readers know them: `ResNet` for the search file's `resnet`."""

from rtune.config.catalog import NETWORKS, PRUNERS


def label_words(words: str) -> str:
    """Names of networks and pruners with blanks between them, such as `enresnet rgsm`, for readers."""
    every = {part.name: part.label for registry in (NETWORKS, PRUNERS) for part in registry}
    return " ".join(every.get(word, word) for word in words.split())
