"""The rules that teams use today, on the same counts: what each would have rolled back, and when.

Each answers, for (slots, watches) of counts, the end of the evidence on which it first rolls back, in seconds since the
cutover; inf where it never does. Their thresholds are the policy's: 1 % errors. Where a rule leaves something open the
kinder reading is taken: a minute without requests is no measurement (Flagger as coded counts it as a failed check), and
Kayenta gets a control with as much traffic as the new revision.

Sources: Argo Rollouts `analysis.go` (a metric fails when failures exceed `failureLimit`; nothing takes one back),
Flagger `scheduler.go` (rolls back on the tick after `threshold` failed checks; only a new revision resets them),
Google's SRE Workbook chapter 5 (two windows at once), Wald 1945, Page 1954, Kayenta `NetflixACAJudge` and
`MannWhitneyClassifier` (confidence 98 %, tolerance 0.25 of the Hodges-Lehmann estimate).
"""

from collections.abc import Callable, Mapping
from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection_parts.streams import DAY_S, SLOT_S, Days, Floats, Ints, coarser
from benchmarks.detection_parts.twin import Feed

THRESHOLD: Final = 0.01
ALPHA: Final = 0.005
MINUTE: Final = round(60 / SLOT_S)
ARGO_LIMIT: Final = 3
FLAGGER_THRESHOLD: Final = 5
SPRT_SEVERITY: Final = 3.0
"""SPRT and CUSUM look for three times the threshold, the middle of our own ladder."""
KAYENTA_LOOKBACK_S: Final = 300.0
KAYENTA_FINEST_S: Final = 10.0
KAYENTA_Z: Final = 2.3263478740408408
"""The 99 % quantile of the normal distribution: a two-sided interval of 98 %."""
KAYENTA_TOLERANCE: Final = 0.25

Bools = NDArray[np.bool_]
Rule = Callable[[Days, Feed], Floats]


def first(hits: Bools, slot_s: float) -> Floats:
    """The end of each watch's first slot that hits, inf without."""
    found: Floats = np.where(hits.any(axis=0), (hits.argmax(axis=0) + 1.0) * slot_s, np.inf)
    return found


def minutes(days: Days) -> tuple[Ints, Ints]:
    """Counts a minute."""
    return coarser(days.bad, MINUTE), coarser(days.total, MINUTE)


def breaching(days: Days) -> Bools:
    """Minutes with more than 1 % errors."""
    bad, total = minutes(days)
    over: Bools = bad > THRESHOLD * total
    return over


def naive(days: Days, _feed: Feed) -> Floats:
    """One minute over the threshold."""
    return first(breaching(days), 60.0)


def three_in_a_row(days: Days, _feed: Feed) -> Floats:
    """Three minutes over the threshold, one after another."""
    over = breaching(days)
    hits = over.copy()
    hits[1:] &= over[:-1]
    hits[2:] &= over[:-2]
    hits[:2] = False
    return first(hits, 60.0)


def argo(days: Days, _feed: Feed) -> Floats:
    """Argo Rollouts, interval 1 min, `failureLimit: 3`: the fourth failed measurement since the deploy."""
    return first(np.cumsum(breaching(days), axis=0) > ARGO_LIMIT, 60.0)


def flagger(days: Days, _feed: Feed) -> Floats:
    """Flagger, interval 1 min, `threshold: 5`: the tick after the fifth failed check since the deploy."""
    return first(np.cumsum(breaching(days), axis=0) >= FLAGGER_THRESHOLD, 60.0) + 60.0


def burn_rate(days: Days, _feed: Feed) -> Floats:
    """Over the last 60 min and the last 5 min above 1 %, or over the last 5 min and the last minute above 5 %."""
    bad, total = minutes(days)

    def over(length: int, threshold: float) -> Bools:
        hot: Bools = _window(bad, length) > threshold * _window(total, length)
        return hot

    return first((over(60, 0.01) & over(5, 0.01)) | (over(5, 0.05) & over(1, 0.05)), 60.0)


def _window(counts: Ints, length: int) -> NDArray[np.int64]:
    """Sums over the last `length` slots, fewer at the beginning."""
    total = np.cumsum(counts, axis=0, dtype=np.int64)
    sums = total.copy()
    sums[length:] -= total[:-length]
    return sums


def sprt(days: Days, feed: Feed) -> Floats:
    """Wald's test of 1 % against 3 %, looked at in every slot. A watch cannot end early, so "accepted" only goes on."""
    return first(np.cumsum(_scores(days, feed), axis=0) >= log(1.0 / ALPHA), feed.period_s)


def cusum(days: Days, feed: Feed) -> Floats:
    """Page's test of the same; its limit makes a false alarm at most `ALPHA` likely over all slots of the day."""
    sums = np.cumsum(_scores(days, feed), axis=0)
    lowest = np.minimum(np.minimum.accumulate(sums, axis=0), 0.0)
    excess = sums
    excess[1:] -= lowest[:-1]
    return first(excess >= log(DAY_S / feed.period_s / ALPHA), feed.period_s)


def _scores(days: Days, feed: Feed) -> Floats:
    bad, total = coarser(days.bad, feed.slots), coarser(days.total, feed.slots)
    worse = SPRT_SEVERITY * THRESHOLD
    gain, loss = log(worse / THRESHOLD), log((1 - worse) / (1 - THRESHOLD))
    scores: Floats = bad * (gain - loss) + total * loss
    return scores


def kayenta(days: Days, feed: Feed) -> Floats:
    """Kayenta's judge every 5 min on the last 5 min against a control: 30 points of 10 s each, or 5 of 60 s.

    NaN for watches without a control.
    """
    found = np.full(days.watches, np.nan)
    if days.control is None:
        return found
    width_s = max(KAYENTA_FINEST_S, feed.period_s)
    slots = round(width_s / SLOT_S)
    points = round(KAYENTA_LOOKBACK_S / width_s)
    picked = with_control(days)
    ours = coarser(days.bad[:, picked], slots), coarser(days.total[:, picked], slots)
    theirs = coarser(days.control[0], slots), coarser(days.control[1], slots)
    alarm = np.full(len(picked), np.inf)
    for look in range(len(days.bad) // round(KAYENTA_LOOKBACK_S / SLOT_S)):
        window = slice(look * points, (look + 1) * points)
        asked = np.flatnonzero(np.isinf(alarm) & (ours[0][window].sum(axis=0) > 0))
        if len(asked):
            shares = [_shares(b[window][:, asked], n[window][:, asked]) for b, n in (ours, theirs)]
            alarm[asked[_high(*shares)]] = (look + 1) * KAYENTA_LOOKBACK_S
    found[picked] = alarm
    return found


def with_control(days: Days) -> NDArray[np.intp]:
    """Which watches have a control: the first ones of each rate."""
    if days.control is None:
        return np.empty(0, dtype=np.intp)
    rates = len(np.unique(days.rps))
    each, controls = days.watches // rates, days.control[0].shape[1] // rates
    return np.flatnonzero(np.arange(days.watches) % each < controls)


def _shares(bad: Ints, total: Ints) -> Floats:
    """Error shares as (watches, points); NaN without requests."""
    shares: Floats = np.where(total > 0, bad / np.maximum(1, total), np.nan).T
    return shares


def _high(new: Floats, old: Floats) -> Bools:
    """Whether Kayenta calls the metric High: the interval's lower end lies above a quarter of the estimated shift.

    The lower end is the largest shift at which the tie-corrected statistic still exceeds z (R's `wilcox.test`), so it
    lies above the limit when the statistic just beyond the limit does: there nothing of one series equals the other.
    """
    apart = (new[:, :, None] - old[:, None, :]).reshape(len(new), -1)
    apart.sort(axis=1)  # NaN comes last
    m, n = np.isfinite(new).sum(axis=1), np.isfinite(old).sum(axis=1)
    rows, pairs = np.arange(len(new)), np.maximum(1, m * n)
    shift = (apart[rows, (pairs - 1) // 2] + apart[rows, pairs // 2]) / 2.0
    u = (apart > KAYENTA_TOLERANCE * np.abs(shift)[:, None]).sum(axis=1)
    whole = np.maximum(2, m + n)
    variance = m * n / 12.0 * (whole + 1 - (_ties(new) + _ties(old)) / (whole * (whole - 1)))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (u - m * n / 2.0 - 0.5) / np.sqrt(variance)
    high: Bools = (m > 0) & (n > 0) & (variance > 0) & (z > KAYENTA_Z)
    return high


def _ties(series: Floats) -> NDArray[np.int64]:
    """The sum of t³ - t over groups of t equal points, one a watch."""
    alike = (series[:, :, None] == series[:, None, :]).sum(axis=2, dtype=np.int64)
    ties: NDArray[np.int64] = np.where(np.isfinite(series), alike**2 - 1, 0).sum(axis=1)
    return ties


RIVALS: Final[Mapping[str, Rule]] = {
    "naive, 1 min": naive,
    "3 in a row": three_in_a_row,
    "Argo": argo,
    "Flagger": flagger,
    "Kayenta-like": kayenta,
    "burn rate": burn_rate,
    "SPRT": sprt,
    "CUSUM": cusum,
}
