#!/usr/bin/env bash
# Checks what this repository is built of: the modules are those that go.sum names (go mod verify), and govulncheck knows
# of no vulnerability that their code, as it is called here, has.
#
# The database is the public one, or the copy that GOVULNDB names: a URL, or a directory. Exit codes: 0 clean, 1 a module
# was changed, 2 there is no database, 3 there are vulnerabilities.
set -euo pipefail
cd "$(dirname "$0")/.."

tool=${GOVULNCHECK:-bin/tools/govulncheck}
db=${GOVULNDB:-https://vuln.go.dev}
case $db in
  *://*) ;;
  *) db=file://$(realpath -m "$db") ;;
esac

for mod in "$@"; do
  (cd "$mod" && GOWORK=off go mod verify >/dev/null) || { echo "vuln: a module of $mod is not the one that its go.sum names" >&2; exit 1; }
done
echo "modules: verified"

reached() {
  case $db in
    file://*) [ -r "${db#file://}/index/db.json" ] || [ -r "${db#file://}/index/db.json.gz" ] ;;
    *) curl -fsSL --max-time 30 -o /dev/null "$db/index/db.json.gz" ;;
  esac
}
if ! reached; then
  cat >&2 <<END
vuln: NOTHING WAS CHECKED: the database of vulnerabilities $db is not reached.
vuln: where https://vuln.go.dev cannot be reached name a copy of it: GOVULNDB=/path/of/the/copy make vuln
END
  exit 2
fi

found=0
for mod in "$@"; do
  echo "govulncheck $mod"
  code=0
  (cd "$mod" && GOWORK=off "$OLDPWD/$tool" -db "$db" ./...) || code=$?
  case $code in
    0) ;;
    3) found=3 ;;
    *) echo "vuln: govulncheck failed in $mod" >&2; exit "$code" ;;
  esac
done
exit "$found"
