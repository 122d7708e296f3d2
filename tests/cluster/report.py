"""What a run found, for people and for programs."""

import statistics

from tests.cluster.faults import FAULTS
from tests.cluster.pauses import CALM, GROUPS

LONG_CHUNKS = 500
"""Joins and resumes that catch up with so many chunks are told apart as long."""
SHOWN = 30
"""So many violations are printed."""


def pauses_told(felt):
    told = {"count": felt.count, "over_limit": felt.late}
    for group, longest_s in felt.longest_s.items():
        told[f"{group}_p50_s"] = round(statistics.median(longest_s), 2) if longest_s else None
        told[f"{group}_max_s"] = round(max(longest_s), 2) if longest_s else None
    return told


def caught_up(crowd):
    joins = [each for device in crowd.gone for each in device.caught_up]
    resumes = [each for device in crowd.devices for each in device.caught_up]
    if not joins + resumes:
        return {"count": 0}
    told = {"most_chunks": max(chunks for _, chunks in joins + resumes)}
    told |= _took([took_s for took_s, _ in joins + resumes])
    for name, each in (("long_joins", joins), ("long_resumes", resumes)):
        long_s = [took_s for took_s, chunks in each if chunks >= LONG_CHUNKS]
        told |= {f"{name}_{figure}": value for figure, value in _took(long_s).items()} if long_s else {}
    return told


def _took(seconds):
    in_order = sorted(seconds)
    return {
        "count": len(in_order),
        "p50_ms": round(1000 * statistics.median(in_order)),
        "p95_ms": round(1000 * in_order[int(0.95 * len(in_order))]),
        "max_ms": round(1000 * in_order[-1]),
    }


def show(found):
    """Print the findings for people."""
    print(
        f"seed {found['seed']}, {found['ran_s']} s, {found['turns']} turns, {found['hearings']} hearings, "
        f"{found['chunks']} chunks; {found['posts']} calls for {found['answers']} answers; "
        f"own lag up to {found['own_lag_ms']} ms"
    )
    print(f"{'':18}{'':6}  longest pause in seconds, p50 / max over the times, at devices of")
    print(
        f"{'fault':18}{'times':>6}{'the node hit':>16}{'the owner':>16}{'other nodes':>16}{'over limit':>12}"
    )
    for kind, each in found["faults"].items():
        cells = "".join(f"{_cell(each, group):>16}" for group in GROUPS)
        print(f"{kind:18}{each['count']:>6}{cells}{each['over_limit'] if _limited(kind) else '-':>12}")
    print("joins and resumes:", ", ".join(f"{name} {value}" for name, value in found["caught_up"].items()))
    left = {name: value for name, value in found["left"].items() if name != "over"}
    print("base -> left behind:", ", ".join(f"{name} {value}" for name, value in left.items()))
    for each in found["violations"][:SHOWN]:
        print(
            f"  {each['kind']}: {each['request']} {each['device']}: {each['why']} (at {each['at_s']:.2f} s)"
        )
    if found["known_limit"]:
        print(
            f"known limit: two nodes that were apart spoke {found['known_limit']} turns in other chunks each"
        )
    print(f"left over its base: {', '.join(found['left']['over']) or 'nothing'}")
    print(f"told again after an end: {found['retold']}")
    print(found["line"])


def _cell(told, group):
    middle, most = told[f"{group}_p50_s"], told[f"{group}_max_s"]
    return "-" if most is None else f"{middle:.2f} / {most:.2f}"


def _limited(kind):
    return kind != CALM and any(getattr(FAULTS[kind], group) for group in GROUPS)
