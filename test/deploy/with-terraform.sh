#!/usr/bin/env bash
# Runs deploy.sh with the real Terraform, and with stubs of gcloud, curl and sleep. The program that runs Terraform
# without a registry gets this file in place of Terraform. It calls `init` and `plan`, and instead of planning this file
# deploys. DEPLOY_TERRAFORM is the path of Terraform.
set -euo pipefail
terraform=${DEPLOY_TERRAFORM:-$(command -v terraform)}
[[ ${1-} == plan ]] || exec "$terraform" "$@"

# No file of the repository contains this text.
key=eyJ$RANDOM.$RANDOM-$RANDOM.not-a-real-key
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export STUB=$work/stub PATH=$work/bin:$PATH
mkdir "$STUB" "$work/bin"
for name in gcloud curl sleep; do ln -s "$PWD/../test/deploy/stub.sh" "$work/bin/$name"; done
ln -s "$terraform" "$work/bin/terraform"

check() { # check DESCRIPTION COMMAND...
  if ! "${@:2}"; then
    echo "not ok: $1" >&2
    exit 1
  fi
  echo "ok: $1"
}
interrupt() { # interrupt TEXT: presses Ctrl-C once the output shows TEXT
  local line pid sent=''
  mkfifo "$work/fifo"
  set -m # a process group of its own, which can be interrupted
  ../deploy.sh --yes --role=r-abcdefg <<<"$key" >"$work/fifo" 2>&1 &
  pid=$!
  set +m
  while IFS= read -r line; do
    if [[ -z $sent && $line == *"$1"* ]]; then
      sent=1
      kill -INT -- "-$pid"
    fi
  done <"$work/fifo"
  wait "$pid"
  [[ $? == 130 && -n $sent ]]
}
deploy() { ../deploy.sh --yes "$@" <<<"$key" >"$work/output" 2>&1 || { cat "$work/output" && false; }; }
has() { grep -q -- "$1" "$work/output"; }
count() { [[ $(grep -c -- "$1" "$STUB/calls") == "$2" ]]; }
hidden() { ! grep -rqF "$key" .. "$STUB/calls" "$STUB/environment" "$work/output"; }

cp -R .. "$work/clone"
check 'a check changes nothing' deploy --check
check 'no state after a check' test ! -e terraform.tfstate
check 'the first run deploys' deploy --role=r-abcdefg
check 'Terraform created as many resources as in the tutorial' has "$(grep '^Apply complete!' ../docs/cloud-shell.md)"
check 'the run ends with the rotation' has '^rotated projects/my-project/secrets/momento-api-key; newest version 1'
check 'Secret Manager has the management key' grep -qxF "$key" "$STUB/versions"
check 'the key is in no file, argument, environment or output' hidden
check 'the second run succeeds' deploy
check 'Terraform changed nothing' has 'Resources: 0 added, 0 changed, 0 destroyed'
check 'one key was stored' count 'versions add' 1
check 'one rotation of each secret was requested' count 'topics publish' 2
check 'the key is in no file, argument, environment or output after the second run' hidden

cd "$work/clone/terraform"
rm "$STUB"/*
check 'an interrupted apply ends with 130' interrupt 'Creating...'
check 'nothing was stored' test ! -e "$STUB/versions"
check 'the next run continues' deploy
check 'that run stored the key' grep -qxF "$key" "$STUB/versions"
check 'that run requested the rotations' count 'topics publish' 2

rm "$STUB"/* terraform.tfvars
rm -f terraform.tfstate*
key="{\"apiKey\": \"eyJ\", \"refreshToken\": \"$key\"}"
check 'without a management key, the first run stores JSON' deploy --refresh
check 'Secret Manager has the JSON' grep -qxF "$key" "$STUB/versions"
check 'the JSON is in no file, argument, environment or output' hidden
