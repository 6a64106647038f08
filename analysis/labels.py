"""Names of parts as readers know them: `ResNet` for the search file's `resnet`."""

# Kind of part -> name in a search file -> name for readers.
LABELS = {
    "network": {
        "resnet": "ResNet",
        "enresnet": "EnResNet",
        "wideresnet": "WideResNet",
        "mobilenet": "MobileNet",
    },
    "pruner": {"rvsm": "RVSM", "rgsm": "RGSM", "admm": "ADMM"},
}


def label(kind: str, name: str) -> str:
    """The name for readers of a part of a kind (`network`, `pruner`); `name` itself where there is none."""
    return LABELS.get(kind, {}).get(name, name)


def label_words(words: str) -> str:
    """Names of parts with blanks between them, such as `enresnet rgsm`, each as readers know it."""
    every = {name: text for names in LABELS.values() for name, text in names.items()}
    return " ".join(every.get(word, word) for word in words.split())
