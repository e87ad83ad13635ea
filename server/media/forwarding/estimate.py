"""How much one observer's network takes, from when packets left and when they came. Pure.

After Google congestion control (draft-ietf-rmcat-gcc-02): a delay that grows says that a queue
builds up (5.3, 5.4), upon which the rate falls below what is delivered, else it grows (5.5);
loss lowers it where delay tells nothing (6). The delay's gradient is the slope of a line through
the last groups of packets, as browsers have it today, instead of the draft's Kalman filter; of
that slope only as much counts as is certain, since on a path with jitter any few packets make one.
"""

import enum
import math
from collections import deque
from collections.abc import Sequence
from itertools import repeat
from operator import itemgetter, mul, sub
from statistics import median
from typing import NamedTuple

#: Enough for camera and screen: a network is innocent until its delay or loss tells otherwise.
START_BPS = 2_500_000.0
MAX_BPS = 20_000_000.0
MIN_BPS = 30_000.0  #: sound alone

#: What was sent within this is one group: a picture's packets leave at once (5.1).
GROUP_S = 0.005
#: And what comes within this after the packet before, having been on its way for less time: a
#: network or a machine that stood still lets go of all at once. For at most so long.
BURST_S, MAX_BURST_S = 0.005, 0.1
#: Groups that a line is drawn through.
MIN_TREND_GROUPS, TREND_GROUPS = 8, 30
#: So many times its standard error a slope may be by chance: delays beside each other are alike.
CERTAIN_ERRORS = 2.0
#: Of the slope, in ms over as many groups as these: what the threshold is compared with.
TREND_GAIN = 4.0
MAX_GAIN_GROUPS = 60
#: The threshold follows the trend, so that neither TCP nor a noisy path starves us (5.4), in ms.
FIRST_THRESHOLD, MIN_THRESHOLD, MAX_THRESHOLD = 12.5, 6.0, 600.0
THRESHOLD_UP, THRESHOLD_DOWN = 8.7, 39.0  # per second
OUTLIER_MS = 15.0

#: Of what is delivered, after a queue has built up (5.5).
DECREASE = 0.85
#: Per second, while the network's limit is not in sight; near it a packet per round trip.
INCREASE = 1.08
NEAR_PACKET_BITS = 9600.0
MIN_NEAR_BPS_PER_S = 4000.0
#: What is not sent says nothing of whether it would come through.
MAX_OVER_DELIVERED, MAX_OVER_DELIVERED_BPS = 1.5, 10_000.0
DELIVERED_WINDOW_S = 0.5
#: After a decrease, until what is delivered is what was sent since.
SETTLED_S = 1.0
MAX_DELIVERED = 64  #: feedbacks in it, whatever times they tell

#: Loss is looked at so often; above MUCH the rate falls, above SOME it does not grow (6). MOST
#: of a stream is lost only where a queue is full, which then tells nothing by its delay.
LOSS_INTERVAL_S = 0.5
MIN_LOSS_PACKETS = 10
SOME_LOSS, MUCH_LOSS, MOST_LOSS = 0.05, 0.10, 0.30
LOSS_SMOOTHING = 0.5
#: So many times what one look differs from the next by may be chance: losses come in bursts.
LOSS_CHANCE = 2.0
#: The least loss of the last so many looks is the path's own, as radio has it: it stays however
#: little is sent.
OWN_LOSS_LOOKS = 10
MAX_OWN_LOSS = 0.25
#: And so is all but MOST_LOSS where no queue has built up for so long, and the round trip is not so
#: much above the shortest: a queue that loses is full.
FULL_S, QUEUED_ROUND_TRIP_S = 3.0, 0.05

DEFAULT_ROUND_TRIP_S = 0.1


class Arrival(NamedTuple):
    """A packet that came."""

    sent_s: float  #: by our clock
    arrived_s: float  #: by the receiver's
    size: int  #: octets on the wire


class Usage(enum.Enum):
    """What the delay says of the network."""

    NORMAL = enum.auto()
    OVER = enum.auto()  #: a queue builds up
    UNDER = enum.auto()  #: one drains


class DelayTrend:
    """Contract: `add` the packets that came, in the order of sending, then `look` what they say."""

    def __init__(self) -> None:
        self.usage = Usage.NORMAL
        self._first_sent_s = -math.inf  # of the group in the making
        self._first_arrived_s = 0.0
        self._sent_s, self._arrived_s = 0.0, -math.inf  # of its last packet
        self._group: tuple[float, float] | None = None  # the one before: sent, arrived
        self._begun_s = 0.0  # when the first one arrived
        self._delay_ms = 0.0
        self._times_ms: deque[float] = deque(maxlen=TREND_GROUPS)  # of the groups' arrival,
        self._delays_ms: deque[float] = deque(maxlen=TREND_GROUPS)  # and their delay by then
        self._groups = 0
        self._trend = 0.0
        self._looked_s = 0.0  # what it had been sent then
        self._threshold = FIRST_THRESHOLD

    def add(self, sent_s: float, arrived_s: float) -> None:
        if sent_s - self._first_sent_s <= GROUP_S or self._is_let_go(sent_s, arrived_s):
            self._sent_s = sent_s
            if arrived_s > self._arrived_s:
                self._arrived_s = arrived_s
            return
        if self._first_sent_s > -math.inf:
            self._end_group()
        else:
            self._begun_s = arrived_s
        self._first_sent_s = self._sent_s = sent_s
        self._first_arrived_s = self._arrived_s = arrived_s

    def _is_let_go(self, sent_s: float, arrived_s: float) -> bool:
        """With the group before, which waited for the same."""
        after_s = arrived_s - self._arrived_s
        return (
            after_s <= BURST_S
            and after_s < sent_s - self._sent_s
            and arrived_s - self._first_arrived_s <= MAX_BURST_S
        )

    def _end_group(self) -> None:
        before, self._group = self._group, (self._sent_s, self._arrived_s)
        if before is None:
            return
        sent_s, arrived_s = self._sent_s - before[0], self._arrived_s - before[1]
        self._delay_ms += 1000 * (arrived_s - sent_s)
        self._times_ms.append(1000 * (self._arrived_s - self._begun_s))
        self._delays_ms.append(self._delay_ms)
        self._groups = min(self._groups + 1, MAX_GAIN_GROUPS)

    def look(self) -> Usage:
        """What the delay of all that was added says."""
        elapsed_s, self._looked_s = self._sent_s - self._looked_s, self._sent_s
        if len(self._times_ms) < MIN_TREND_GROUPS or elapsed_s <= 0:
            return self.usage
        before, threshold = self._trend, self._threshold
        trend = self._trend = (
            self._groups * TREND_GAIN * _certain_slope(self._times_ms, self._delays_ms)
        )
        if trend > threshold:
            if trend >= before:  # else it is getting better by itself
                self.usage = Usage.OVER
        else:
            self.usage = Usage.UNDER if trend < -threshold else Usage.NORMAL
        distance = abs(trend) - threshold
        if distance <= OUTLIER_MS:
            speed = THRESHOLD_UP if distance > 0 else THRESHOLD_DOWN
            moved = threshold + speed * distance * min(elapsed_s, 0.1)
            self._threshold = min(max(moved, MIN_THRESHOLD), MAX_THRESHOLD)
        return self.usage


def _certain_slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Of the line with the least squares through the points, towards zero by what may be chance."""
    count = len(xs)
    # What is squared must stay small.
    xs, ys = list(map(sub, xs, repeat(xs[0]))), list(map(sub, ys, repeat(ys[0])))
    sum_x, sum_y = sum(xs), sum(ys)
    spread = sum(map(mul, xs, xs)) - sum_x * sum_x / count
    if spread <= 0:
        return 0.0
    slope = (sum(map(mul, xs, ys)) - sum_x * sum_y / count) / spread
    beside = sum(map(mul, ys, ys)) - sum_y * sum_y / count - slope**2 * spread
    error = math.sqrt(max(0.0, beside) / (count - 2) / spread)
    return math.copysign(max(0.0, abs(slope) - CERTAIN_ERRORS * error), slope)


class Loss:
    """How much is lost beyond what this path loses anyway."""

    def __init__(self) -> None:
        self.excess = 0.0
        self._fraction = self._smoothed = 0.0
        self._looks = deque([0.0] * OWN_LOSS_LOOKS, maxlen=OWN_LOSS_LOOKS)
        self._steps = deque([0.0] * OWN_LOSS_LOOKS, maxlen=OWN_LOSS_LOOKS)  # from look to look

    @property
    def mean(self) -> float:
        """Of the last looks."""
        return sum(self._looks) / len(self._looks)

    def is_own(self, fraction: float) -> None:
        """So much is the path's own: to be told before `look`."""
        self._fraction = self._smoothed = fraction
        self._looks.extend([fraction] * OWN_LOSS_LOOKS)
        self._steps.clear()  # of nothing but what is seen can be told what chance does

    def look(self, fraction: float) -> None:
        """`fraction`: of the packets of one interval."""
        self._smoothed += (1 - LOSS_SMOOTHING) * (fraction - self._smoothed)
        self._steps.append(abs(fraction - self._fraction))
        self._fraction = fraction
        above = self._smoothed - min(MAX_OWN_LOSS, *self._looks)
        # The median: one step up, which stays, is none.
        self.excess = max(0.0, above - LOSS_CHANCE * median(self._steps))
        self._looks.append(self._smoothed)


class Estimate:
    """Contract: `feedback` for each feedback that came; `bitrate_bps` is what may be sent.

    All times in seconds, of any clock that never jumps.
    """

    def __init__(self, now: float) -> None:
        self.bitrate_bps = START_BPS
        self.delivered_bps: float | None = None  #: of late; None: nothing has been
        self.trend = DelayTrend()
        self._loss = Loss()
        self._delivered: deque[tuple[float, int]] = deque()  # arrived, octets
        self._octets = 0
        self._limit: _Limit = _Limit()
        self._begun_s = self._increased_s = self._decreased_s = now
        self._round_trip_s, self._shortest_s = DEFAULT_ROUND_TRIP_S, math.inf
        self._lost = self._told = 0
        self._look_s = now

    @property
    def queued_s(self) -> float:
        """When a queue was seen to build up, last."""
        return self._decreased_s

    @property
    def lost(self) -> float:
        """The share of packets of late."""
        return self._loss.mean

    @property
    def losing(self) -> bool:
        """Whether more is lost than this path loses anyway."""
        return self._loss.excess > MUCH_LOSS

    def feedback(
        self, arrivals: Sequence[Arrival], lost: int, now: float, round_trip_s: float | None
    ) -> None:
        """`arrivals`: what came, in the order of sending; `lost`: how many did not."""
        self._round_trip_s = round_trip_s or DEFAULT_ROUND_TRIP_S
        self._shortest_s = min(self._shortest_s, self._round_trip_s)
        add = self.trend.add
        for sent_s, arrived_s, _ in arrivals:
            add(sent_s, arrived_s)
        if arrivals:
            latest_s = max(map(itemgetter(1), arrivals))
            self._count_delivered(latest_s, sum(map(itemgetter(2), arrivals)))
        self._lost += lost
        self._told += lost + len(arrivals)
        if now - self._look_s >= LOSS_INTERVAL_S and self._told >= MIN_LOSS_PACKETS:
            self._look_at_loss(now)
        self._control(now, self._round_trip_s)

    def probed(self, bitrate_bps: float) -> None:
        """So much came through when it was tried."""
        if self.trend.usage is not Usage.OVER:
            self.bitrate_bps = min(max(self.bitrate_bps, bitrate_bps), MAX_BPS)

    def _count_delivered(self, arrived_s: float, octets: int) -> None:
        delivered = self._delivered
        delivered.append((arrived_s, octets))
        self._octets += octets
        while delivered[0][0] < arrived_s - DELIVERED_WINDOW_S or len(delivered) > MAX_DELIVERED:
            self._octets -= delivered.popleft()[1]
        # Each entry stands for what came since the one before: the first one's time is unknown.
        span_s = arrived_s - delivered[0][0]
        if span_s >= DELIVERED_WINDOW_S / 2:
            self.delivered_bps = 8 * (self._octets - delivered[0][1]) / span_s

    def _look_at_loss(self, now: float) -> None:
        fraction = self._lost / self._told
        if not self._may_be_full(now) and self._loss.mean < fraction <= MOST_LOSS:
            self._loss.is_own(fraction)
        self._loss.look(fraction)
        self._lost = self._told = 0
        self._look_s = now
        excess, delivered_bps = self._loss.excess, self.delivered_bps or 0.0
        if excess > MOST_LOSS and fraction > MOST_LOSS:  # still: less may be sent by now
            self._set(min(self.bitrate_bps, DECREASE * delivered_bps))
        elif excess > MUCH_LOSS and fraction > SOME_LOSS:
            lower = self.bitrate_bps * (1 - 0.5 * excess)
            # What is delivered fits, whatever else is lost.
            self._set(min(self.bitrate_bps, max(lower, delivered_bps)))

    def _may_be_full(self, now: float) -> bool:
        """Whether a queue has been seen to build up of late, or not to be empty."""
        seen = self._decreased_s > self._begun_s and now - self._decreased_s < FULL_S
        return seen or self._round_trip_s > self._shortest_s + QUEUED_ROUND_TRIP_S

    def _control(self, now: float, round_trip_s: float) -> None:
        usage = self.trend.look()
        if usage is Usage.OVER:
            self._decrease(now, round_trip_s)
        elif usage is Usage.NORMAL and self._loss.excess <= SOME_LOSS:
            if now - self._decreased_s > SETTLED_S:
                # More than this was sent all the same, and no queue builds up: it fits.
                self._set(max(self.bitrate_bps, self.delivered_bps or 0.0))
            self._increase(now, round_trip_s)
        self._increased_s = now

    def _decrease(self, now: float, round_trip_s: float) -> None:
        delivered_bps = self.delivered_bps
        if delivered_bps is None or now - self._decreased_s < min(max(round_trip_s, 0.01), 0.2):
            return
        self._decreased_s = now
        self._limit.reached(delivered_bps)
        self._set(min(self.bitrate_bps, DECREASE * delivered_bps))

    def _increase(self, now: float, round_trip_s: float) -> None:
        elapsed_s = min(1.0, now - self._increased_s)
        delivered_bps = self.delivered_bps
        if delivered_bps is None:
            return
        if self._limit.is_near(delivered_bps):
            response_s = round_trip_s + 0.1
            more = max(MIN_NEAR_BPS_PER_S, NEAR_PACKET_BITS / response_s) * elapsed_s
            increased = self.bitrate_bps + more
        else:
            increased = self.bitrate_bps * INCREASE**elapsed_s + 1000 * elapsed_s
        most = MAX_OVER_DELIVERED * delivered_bps + MAX_OVER_DELIVERED_BPS
        self._set(max(self.bitrate_bps, min(increased, most)))

    def _set(self, bitrate_bps: float) -> None:
        self.bitrate_bps = min(max(bitrate_bps, MIN_BPS), MAX_BPS)


class _Limit:
    """Where a queue began to build up, of late: its mean and spread (5.5)."""

    def __init__(self) -> None:
        self._mean_bps: float | None = None
        self._variance = 0.0  # relative to the mean's square

    def reached(self, delivered_bps: float) -> None:
        mean = self._mean_bps
        if mean is None or not self.is_near(delivered_bps):
            self._mean_bps, self._variance = delivered_bps, 0.0
            return
        self._mean_bps = 0.95 * mean + 0.05 * delivered_bps
        deviation = (delivered_bps - mean) / mean
        self._variance = 0.95 * self._variance + 0.05 * deviation**2

    def is_near(self, delivered_bps: float) -> bool:
        mean = self._mean_bps
        if mean is None:
            return False
        if delivered_bps > mean * (1 + self._reach):  # the network has become faster
            self._mean_bps = None
            return False
        return delivered_bps >= mean * (1 - self._reach)

    @property
    def _reach(self) -> float:
        return max(0.1, 3 * math.sqrt(self._variance))
