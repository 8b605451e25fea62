"""Totals for each group, the failures, pytest's last line and one line of JSON.

    summary.py JUNIT WORKER STATUS EXPECTED LOG

Exit status 1 where there is no junit file, or where EXPECTED is not 0 and fewer
tests than that passed or any was skipped: a selection that quietly shrank must
not look like success.
"""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

OUTCOMES = ("passed", "failed", "error", "skipped")
AXIS = {
    "pipe", "subprocess", "shm", "unix", "unix_threaded", "unix_launcher", "tcp", "http",
    "http_externalize_always", "http_capped", "http_capped_external",
}  # fmt: skip


@dataclass
class Totals:
    groups: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    transports: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    seconds: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    skips: Counter[str] = field(default_factory=Counter)

    def add(self, case: ET.Element) -> None:
        outcome = "passed"
        for tag, name in (("failure", "failed"), ("error", "error"), ("skipped", "skipped")):
            node = case.find(tag)
            if node is not None:
                outcome = name
                message = re.sub(r"\d+", "N", " ".join((node.get("message") or "").split()))[:110]
                (self.skips if name == "skipped" else self.failures)[message] += 1
        group = (case.get("classname") or "").split(".")[-1]
        params = re.search(r"\[(.*)\]$", case.get("name") or "")
        # Ids join parameters with "-"; a transport is a whole one of them.
        named = [p for p in (params[1].split("-") if params else []) if p in AXIS]
        self.groups[group][outcome] += 1
        self.transports[named[0] if named else "-"][outcome] += 1
        self.seconds[group] += float(case.get("time") or 0)


def table(title: str, rows: dict[str, Counter[str]], seconds: Counter[str] | None = None) -> None:
    print(f"{title:44s}" + "".join(f"{o:>9s}" for o in OUTCOMES) + ("" if seconds is None else "  seconds"))
    for name in sorted(rows):
        line = f"{name:44s}" + "".join(f"{rows[name][o] or '.':>9}" for o in OUTCOMES)
        print(line + ("" if seconds is None else f"{seconds[name]:9.1f}"))
    print()


def reasons(title: str, counter: Counter[str]) -> None:
    if counter:
        print(title)
        for message, n in counter.most_common(15):
            print(f"  {n:5d}  {message}")
        print()


def shortfall(total: Counter[str], expected: int) -> str:
    """What is wrong with a run of which *expected* tests should have passed."""
    if not expected or (total["passed"] >= expected and not total["skipped"]):
        return ""
    return f"{total['passed']} passed and {total['skipped']} skipped, where {expected} must pass and none may be skipped"


def main(junit: str, worker: str, status: str, expected: str, log: str) -> int:
    lines = Path(log).read_text(errors="replace").splitlines()
    try:
        root = ET.parse(junit).getroot()
    except (OSError, ET.ParseError) as exc:
        print(*lines[-30:], f"no junit file: {exc}", sep="\n", file=sys.stderr)
        return 1
    totals = Totals()
    for case in root.iter("testcase"):
        totals.add(case)
    table("group", totals.groups, totals.seconds)
    table("transport", totals.transports)
    reasons("reasons of failures", totals.failures)
    reasons("reasons of skips", totals.skips)
    for line in [line for line in lines if line.startswith(("FAILED ", "ERROR "))][:50]:
        print(line)
    total: Counter[str] = sum(totals.groups.values(), Counter())
    short = shortfall(total, int(expected))
    if short:
        print(short)
    print(lines[-1] if lines else "pytest wrote nothing")
    whole = [g for g, c in totals.groups.items() if c["passed"] and c["passed"] == sum(c.values())]
    print(
        json.dumps(
            {
                "worker": worker,
                "total": sum(total.values()),
                **{o: total[o] for o in OUTCOMES},
                "expected": int(expected) or None,
                "groups": len(totals.groups),
                "groups_all_passed": len(whole),
                "transports": {t: f"{c['passed']}/{sum(c.values())}" for t, c in sorted(totals.transports.items())},
                "seconds": round(sum(float(s.get("time") or 0) for s in root.iter("testsuite")), 1),
                "exit": int(status),
            }
        )
    )
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:6]))
