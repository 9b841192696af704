"""Reads the mail on standard input as a report, with programs that others wrote.

The first argument is a schema; the XML of an aggregate report must be valid by it.
"""
import email
import gzip
import json
import sys

import parsedmarc
from lxml import etree

mail = sys.stdin.buffer.read()
told = {"type": None, "valid": None, "records": [], "messages": 0}
for part in email.message_from_bytes(mail).walk():
    if part.get_content_type() == "application/gzip":
        schema = etree.XMLSchema(etree.parse(sys.argv[1]))
        xml = etree.fromstring(gzip.decompress(part.get_payload(decode=True)))
        told["valid"] = schema.validate(xml)
        told["faults"] = str(schema.error_log)
        told["file"] = part.get_filename()
read = parsedmarc.parse_report_email(mail, offline=True)
told["type"] = read["report_type"]
report = read["report"]
if told["type"] == "aggregate":
    told["id"] = report["report_metadata"]["report_id"]
    told["organization"] = report["report_metadata"]["org_name"]
    told["domain"] = report["policy_published"]["domain"]
    told["p"] = report["policy_published"]["p"]
    for record in report["records"]:
        told["messages"] += record["count"]
        told["records"].append(
            [
                record["source"]["ip_address"],
                record["count"],
                record["policy_evaluated"]["disposition"],
                record["alignment"]["dkim"],
                record["alignment"]["spf"],
                record["identifiers"]["header_from"],
                len(record["auth_results"]["dkim"]),
            ]
        )
else:
    told["domain"] = report.get("reported_domain")
    told["source"] = report["source"]["ip_address"]
    told["failure"] = report.get("auth_failure")
print(json.dumps(told))
