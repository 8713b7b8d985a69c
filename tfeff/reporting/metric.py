"""How metrics are written in tables and figures: their names as text, and their units."""


def in_words(metric: str) -> str:
    """The name of a metric as text.

    >>> in_words("validation_mean_ap"), in_words("train_accuracy")
    ('validation mAP', 'train accuracy')
    """
    return metric.replace("mean_ap", "mAP").replace("_", " ")


def unit_of(metric: str) -> str:
    """The unit of a metric, by its name or its name in words: "%" for accuracies, which are in [0, 1]; "" for others.

    >>> unit_of("validation_accuracy"), unit_of("-(validation loss)")
    ('%', '')
    """
    return "%" if metric.endswith("accuracy") else ""
