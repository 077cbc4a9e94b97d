"""Reward functions as they are written in Python, over many completions."""

import math
import random
import re
import string

from measure import arguments, report, timed

args = arguments(__doc__, completions=20_000)
# The arithmetic that `arithmetic.rs` does as well.
NUMBERS = 200_000


def completions(count):
    """437 characters each; every second answer is right."""
    numbers = random.Random(0)
    texts, answers = [], []
    for index in range(count):
        number = numbers.randrange(1000)
        body = "".join(numbers.choice(string.ascii_lowercase + " ") for _ in range(400))
        texts.append(f"<think>{body}</think><answer> {number} </answer>")
        answers.append(str(number if index % 2 else number + 1))
    return texts, answers


def tagged_answer(text, answer):
    start = text.find("<answer>")
    end = text.find("</answer>", start)
    given = text[start + 8 : end].strip() if start >= 0 and end >= 0 else ""
    return 1.0 if given == answer else (0.1 if start >= 0 else 0.0)


FORMAT = re.compile(r"^<think>.*?</think>\s*<answer>.*?</answer>$", re.S)


def well_formed(text, _):
    return 1.0 if FORMAT.match(text) else 0.0


def repetition(text, _):
    words = text.lower().split()
    grams = [tuple(words[at : at + 3]) for at in range(len(words) - 2)]
    return len(set(grams)) / len(grams) - 1.0 if grams else 0.0


def edit_distance(text, _):
    left, right = text[:120], text[40:160]
    previous = list(range(len(right) + 1))
    for row, a in enumerate(left, 1):
        current = [row]
        for column, b in enumerate(right):
            current.append(min(previous[column + 1] + 1, current[column] + 1, previous[column] + (a != b)))
        previous = current
    return -previous[-1]


def arithmetic(index):
    x = index * 1e-5
    return 1.0 if x > 0.5 and math.tanh(x) < 0.9 else 0.1 * math.exp(-x)


texts, answers = completions(args.completions)
for reward, share in ((tagged_answer, 1), (well_formed, 1), (repetition, 1), (edit_distance, 100)):
    some, wanted = texts[: len(texts) // share], answers[: len(texts) // share]
    times = timed(lambda: [reward(text, answer) for text, answer in zip(some, wanted)], 5, 1)
    each = {"microseconds": times["seconds"] / len(some) * 1e6, "cpu_microseconds": times["cpu_seconds"] / len(some) * 1e6}
    report("reward", reward.__name__, completions=len(some), characters=len(texts[0]), **each, **times)
times = timed(lambda: [arithmetic(index) for index in range(NUMBERS)], 5, 1)
report("reward", "arithmetic", completions=NUMBERS, cpu_microseconds=times["cpu_seconds"] / NUMBERS * 1e6, **times)
