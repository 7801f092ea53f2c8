#!/bin/sh
# What a change of a policy bundle must pass before it is merged, on any CI.
#
#   policy-ci.sh BUNDLE [HOOK...]
#
# Runs `writ policy check` and `writ policy lint` on the directory BUNDLE, and then
# every HOOK, an executable that gets BUNDLE as its argument: tests of the bundle,
# a comparison with the base branch, whatever the repository asks for. All steps
# run, so that one run says everything; the exit code is 1 if one failed, and 2
# for wrong usage.
#
#   WRIT         the command; default: writ. It may have arguments.
#   LINT_OUTPUT  how lints are written: text, json, github, sarif. Default: github
#                in a workflow of GitHub, else text.
#   SARIF        a file to which lints are written as SARIF besides.
set -u

[ $# -ge 1 ] && [ -d "$1" ] || {
  echo "usage: policy-ci.sh BUNDLE [HOOK...]" >&2
  exit 2
}
bundle=$1
shift
writ=${WRIT:-writ}
output=${LINT_OUTPUT:-text}
[ -n "${LINT_OUTPUT:-}" ] || [ -z "${GITHUB_ACTIONS:-}" ] || output=github

failed=
step() {
  name=$1
  shift
  printf '== %s\n' "$name"
  "$@" || {
    printf 'FAIL: %s\n' "$name"
    failed=1
  }
}

# $writ is split into words on purpose.
step "policy check" $writ policy check "$bundle"
step "policy lint" $writ policy lint "$bundle" -o "$output"
if [ -n "${SARIF:-}" ]; then
  $writ policy lint "$bundle" -o sarif >"$SARIF" # its findings failed above
  [ -s "$SARIF" ] || step "lints as SARIF" false
fi
for hook in "$@"; do
  step "${hook##*/}" "$hook" "$bundle"
done

[ -z "$failed" ]
