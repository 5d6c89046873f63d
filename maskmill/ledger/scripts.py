"""The ledger's atomic scripts: one Lua file each in `lua/`, with `common.lua` before it.

Keys of a queue, behind `maskmill:QUEUE:`

| key | holds |
| --- | --- |
| jobs | zset job → created, in seconds |
| open | set of the jobs without a manifest |
| runnable | zset job → `vtime - priority * 1e11`: those with a claimable shard; the lowest goes first |
| due | zset job → ms at which a lease or a delay may be over; earlier than true after a renewal, never later |
| closing | set of the jobs whose last shard is booked or that are cancelled, and that have no manifest |
| clock | hash priority → vtime last served |
| reply:OWNER | the owner's last claim and its token, for as long as the lease |
| workers, states | zset worker → ms last seen, hash worker → what it does |
| reconciler, sole_writer | who holds these offices |

Keys of a job, behind `maskmill:QUEUE:JOB:`

| key | holds |
| --- | --- |
| meta | hash: out, model, images, shards, next, priority, round, vtime, floor (of vtime), average (seconds a shard), max_failures, halted, closed, shards_done, shards_excused, shards_noted, images by status, `left:REASON`, `failed:CODE`, `warned:CODE`, `example:CODE`, trouble, files (of the model) |
| done | bitmap of the booked shards |
| owners, charges, leases | hash shard → owner, hash shard → seconds charged in advance, zset shard → ms of the deadline |
| waiting | zset shard → ms from which on it can be claimed: given back, and nobody's |
| attempts, excused, notes | hash shard → claims so far, those that do not count, the text for the next owner |
| in_hand | hash shard → what its owner says of it (`answers.InHand`), as long as it is the owner |

Every shard below `next` is exactly one of done, leased and waiting.
"""  # noqa: E501 - tables

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def script(name: str) -> str:
    """The text of a script, such as `claim_next`."""
    folder = files("maskmill.ledger") / "lua"
    return "\n".join((folder / f"{each}.lua").read_text(encoding="utf-8") for each in ("common", name))
