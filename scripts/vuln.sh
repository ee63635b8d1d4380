#!/usr/bin/env bash
# Looks for known holes in the code that is linked into akprox, with the
# database at https://vuln.go.dev, or where $GOVULNDB says (a folder: file:///…).
# Ends with a status other than 0 when there is a hole, and when nothing could
# be checked, which it says.
set -uo pipefail
cd "$(dirname "$0")/.."

tool=golang.org/x/vuln/cmd/govulncheck@v1.8.0
report=$(mktemp)
trap 'rm -f "$report"' EXIT

GOFLAGS='' ${GO:-go} run "$tool" ${GOVULNDB:+-db="$GOVULNDB"} -format json ./cmd/... >"$report" 2>"$report.err"
status=$?
if [ $status != 0 ]; then
	cat "$report.err" >&2
	rm -f "$report.err"
	echo "vuln: nothing was checked: the tool or the database of vulnerabilities cannot be reached. Run it where there is a network, or name a copy of the database in GOVULNDB." >&2
	exit 1
fi
rm -f "$report.err"
GOFLAGS='' ${GO:-go} run "$tool" -mode=convert <"$report"
