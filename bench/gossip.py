"""How news would spread by gossip, for comparison: Docker's network database, without loss, delay or work.

Pure but for chance.  Each node sends what it has in hand to three others every 200 ms, so many times as its library
says for a cluster of that size; who hears something new does the same.  Called by `bench.network_convergence`.
Source: moby, libnetwork/networkdb/cluster.go (`gossip`); memberlist's defaults for a LAN.
"""

import heapq
import math
from random import Random
from typing import Final

INTERVAL_S: Final = 0.2
FAN_OUT: Final = 3
RETRANSMIT: Final = 4
PACKET_BYTES: Final = 250  # About: one entry of Docker's table of endpoints, sealed in a UDP packet.


def spread(nodes: int, random: Random) -> tuple[float, int]:
    """Return after how many seconds the last node knows of something, and how many packets were sent for it."""
    times = RETRANSMIT * math.ceil(math.log10(nodes + 1))
    left = {0: times}
    due = [(random.random() * INTERVAL_S, 0)]
    sent, last_s = 0, 0.0
    while due:
        now_s, node = heapq.heappop(due)
        for other in random.sample([one for one in range(nodes) if one != node], min(FAN_OUT, nodes - 1)):
            sent += 1
            if other not in left:
                left[other], last_s = times, now_s
                heapq.heappush(due, (now_s + random.random() * INTERVAL_S, other))
        left[node] -= 1
        if left[node]:
            heapq.heappush(due, (now_s + INTERVAL_S, node))
    return (last_s if len(left) == nodes else math.inf), sent
