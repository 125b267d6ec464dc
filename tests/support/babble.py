"""Answers that make no sense, planted: what a broken model says. All words are harmless."""

import random


def planted(answers, vocabulary, seed=0):
    """Kind of babble → one broken answer for each sound one."""
    drawn = random.Random(seed)
    return {
        "random words": ["".join(drawn.choices(vocabulary, k=max(5, len(text.split())))) for text in answers],
        "shuffled words": [_shuffled(text, drawn) for text in answers],
        "half of the words replaced": [_half(text, vocabulary, drawn) for text in answers],
        "a repeated phrase": [_repeated(text, drawn) for text in answers],
        "another script": [_other_script(drawn) for _ in answers],
        "cut in the middle": [text[: len(text) // 2] for text in answers],
        "empty": [drawn.choice(["", " ", "\n"]) for _ in answers],
    }


def _shuffled(text, drawn):
    words = text.split(" ")
    drawn.shuffle(words)
    return " ".join(words)


def _half(text, vocabulary, drawn):
    words = text.split(" ")
    for place in drawn.sample(range(len(words)), k=(len(words) + 1) // 2):
        words[place] = drawn.choice(vocabulary).strip()
    return " ".join(words)


def _repeated(text, drawn):
    words, size = text.split(" "), drawn.randint(1, 4)
    start = drawn.randrange(max(1, len(words) - size))
    return " ".join(words[start : start + size] * (30 // size))


def _other_script(drawn):
    return " ".join("".join(drawn.choices("авгджзклмнпрст", k=drawn.randint(2, 7))) for _ in range(15))
