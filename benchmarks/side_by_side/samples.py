"""What is said of several measurements of the same thing."""

import statistics


def summarize(samples):
    """Returns {"median", "spread", "samples"}.

    The spread is the distance between the quartiles as a share of the median, so that one
    disturbed measurement does not decide it; of two samples it is their distance.
    """
    ordered = sorted(samples)
    median = statistics.median(ordered)
    if len(ordered) < 2:
        low = high = median
    elif len(ordered) == 2:
        low, high = ordered
    else:
        low, _, high = statistics.quantiles(ordered, n=4, method="inclusive")
    spread = (high - low) / median if median else 0.0
    return {"median": median, "spread": spread, "samples": list(samples)}


def largest_difference(first, second):
    """The largest absolute difference of two equally nested lists of numbers, None if unequal."""
    if isinstance(first, list) != isinstance(second, list):
        return None
    if not isinstance(first, list):
        return abs(first - second)
    if len(first) != len(second):
        return None
    differences = [largest_difference(*pair) for pair in zip(first, second)]
    return None if None in differences else max(differences, default=0)
