"""The commands of charlm, in the groups of the help.

To add a command, add its name and its summary here. The function and its module in this folder have the same name.
Its docstring begins with the summary, which has at most 45 characters.
"""

from __future__ import annotations

COMMANDS = {
    "Train": {
        "train": "Learn a model from text.",
        "tune": "Search for the best settings of a training.",
    },
    "Use a model": {
        "generate": "Draw text from a model.",
        "next": "List the likeliest next tokens.",
        "score": "Print the probability of each line.",
        "surprisal": "Print how hard each word is to predict.",
        "rank": "Print the oddest lines.",
        "filter": "Print the lines that a model finds likely.",
        "rescore": "Choose the best of several hypotheses.",
        "evaluate": "Print how well a model predicts a corpus.",
        "compare": "Print which model predicts a text best.",
        "fill": "Fill each ___ with the likeliest token.",
        "predict": "Tag, classify or translate each line.",
    },
    "Look": {
        "inspect": "Print what is in a model file.",
        "vocab": "Count the tokens of a corpus.",
    },
    "Other programs": {
        "export": "Write a model for another program.",
        "import": "Read a model of another program.",
    },
    "Machine and help": {
        "bench": "Measure tokens per second on this machine.",
        "selfcheck": "Check that this machine computes correctly.",
        "guide": "Print the guide, or one of its topics.",
        "help": "Print the help of charlm or of a command.",
    },
}
