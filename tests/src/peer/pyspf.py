"""What pyspf says of the cases on standard input: one line of JSON each, in and out."""
import json
import sys

import spf

ZONE = {}
LINKS_MAX = 10


def look_up(name, qtype, strict=True, timeout=20):
    """The DNS of the case: aliases are followed, as a resolver does."""
    asked = name
    name = name.rstrip(".").lower()
    for _ in range(LINKS_MAX):
        entries = ZONE.get(name, [])
        alias = [data for kind, data in entries if kind == "CNAME"]
        if not alias:
            break
        name = alias[0]
    else:
        raise spf.TempError("a chain of CNAMEs loops")
    found = [((asked, qtype), value(qtype, data)) for kind, data in entries if kind == qtype]
    if not found and any(kind == "TIMEOUT" for kind, _ in entries):
        raise spf.TempError("timeout")
    return found


def value(qtype, data):
    if qtype == "TXT":
        return (data.encode(),)
    if qtype == "MX":
        return (10, data)
    return data


spf.DNSLookup = look_up
for line in sys.stdin:
    case = json.loads(line)
    ZONE = case["zone"]
    query = spf.query(
        i=case["ip"],
        s=case["from"],
        h=case["helo"],
        receiver="mx.receiver.example",
        strict=True,
        querytime=0,
    )
    try:
        result, _, why = query.check()
        explained = why if result == "fail" and why != spf.EXPLANATIONS["fail"] else None
    except Exception as fault:  # what it does not survive
        result, why, explained = "exception", repr(fault), None
    print(json.dumps({"result": result, "why": why, "explained": explained}), flush=True)
