"""PreResQ-R1's released rewards written as plain loops from their formulas: slow, easy to check."""

from itertools import combinations
from math import exp, nan, sqrt


def image_totals(aspects, labels):
    """Return the released image reward of every answer; lists [image][answer]."""
    return [
        [
            (
                0.375 * pairwise(aspects, labels, i, k)
                - penalty(aspects[i][k])
                + 0.5 * balance(aspects[i], k, 4)
                + 0.125 * triplets(aspects, labels, i, k)
                + truth_rank(aspects[i], labels[i], k)
            )
            / 3.0
            for k in range(len(aspects[i]))
        ]
        for i in range(len(aspects))
    ]


def video_totals(aspects, labels):
    """Return the released video reward of every answer; lists [video][answer]."""
    return [
        [
            0.375 * pairwise(aspects, labels, i, k)
            - penalty(aspects[i][k])
            + 0.5 * balance(aspects[i], k, 2)
            + 0.125 * triplets(aspects, labels, i, k)
            for k in range(len(aspects[i]))
        ]
        for i in range(len(aspects))
    ]


def mean(values):
    return sum(values) / len(values) if values else nan


def score(answer):
    return round(mean(answer), 9)


def penalty(answer):
    centre = mean(answer)
    spread = sqrt(mean([(value - centre) ** 2 for value in answer]))
    return 0.5 * (0.5 - spread) if spread < 0.5 else 0.0


def balance(answers, k, n_aspects):
    gain = n_triples = 0
    for triple in combinations(range(len(answers)), 3):
        if k not in triple:
            continue
        n_triples += 1
        for aspect in range(n_aspects):
            low, middle, high = sorted(triple, key=lambda one: answers[one][aspect])
            distance = abs(answers[k][aspect] - answers[middle][aspect])
            if k == middle or (k in (low, high) and distance < 0.05):
                gain += 1
    return 0.5 * gain / (n_triples * n_aspects)


def truth_rank(answers, label, k):
    scores = [score(one) for one in answers]
    if abs(scores[k] - label) < 0.02:
        return 1.0
    ranked = sorted([*scores, label])
    places = abs(ranked.index(scores[k]) - ranked.index(label))
    return exp(-places / len(ranked))


def relation(a, b):
    return (a > b) - (a < b)


def pairwise(aspects, labels, i, k):
    orders = [sorted(range(len(one)), key=lambda n: score(one[n])) for one in aspects]
    rank = orders[i].index(k)
    q_i, rewards = score(aspects[i][k]), []
    for z in range(len(aspects)):
        if z == i:
            continue
        q_z = score(aspects[z][orders[z][rank]])
        gap = abs(labels[i] - labels[z])
        whole = gap + abs(q_i - labels[i]) + abs(q_z - labels[z])
        margin = gap / whole if whole else nan
        right = relation(q_i, q_z) == relation(labels[i], labels[z])
        rewards.append(sqrt(margin) if right else sqrt(1.0 - margin))
    return mean(rewards) if rewards else 0.0


def triplets(aspects, labels, i, k):
    q = [score(one[k]) for one in aspects]
    shares = []
    others = [z for z in range(len(aspects)) if z != i]
    for a, b in combinations(others, 2):
        orders = [(i, a), (a, b), (i, b)]
        shares.append(mean([(q[x] > q[y]) == (labels[x] > labels[y]) for x, y in orders]))
    return mean(shares)
