# Prints what scripts/schemathesis.sh has tried: calls of each operation by status. Fails if one was called too rarely.
#   tried.py LEAST FILE...
# An operation without parameters and body has next to nothing to vary: for those one call is enough (FIXED).
# SPDX-License-Identifier: Apache-2.0

import json
import sys

FIXED = {
    "GET /monitor", "GET /v1/ip", "GET /v1/locations/beacons", "GET /v1/wizard/registry-credentials", "GET /spawnpoint/v1/audit",
    "GET /spawnpoint/v1/tokens", "POST /v1/wizard/init-quick-start", "GET /swagger.json", "GET /openapi.json",
}

least, rare = int(sys.argv[1]), []
for path in sys.argv[2:]:
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    for operation, answers in sorted(report["tried"].items()):
        calls = sum(answers.values())
        print(f"{calls:7} {operation:80} " + " ".join(f"{code}:{count}" for code, count in sorted(answers.items())))
        if calls < (1 if operation in FIXED else least):
            rare.append(operation)
    for reason, count in sorted(report["reasons"].items()):
        print(f"{count:7} refused beyond the schema: {reason}")
if rare:
    print(f"FAILED: called less than {least} times: " + ", ".join(rare))
    sys.exit(1)
