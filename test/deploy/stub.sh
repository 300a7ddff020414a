#!/usr/bin/env bash
# Stands in for gcloud, terraform, curl and sleep, by the name of the link that calls it. It appends its arguments and
# its environment to $STUB/calls, and answers from the table below. Files in $STUB change the answers:
#   fail      lines of patterns; a call that matches one fails
#   answers   lines of "pattern=>answer", which go before the table; "!CODE text" fails with that text
#   before    a pattern; the first call that matches it interrupts its process group, as Ctrl-C in a terminal does
#   after     the same, once the call has had its effect
# "versions" and "log" are what Secret Manager and Cloud Logging contain.
set -euo pipefail
export LC_ALL=C
call="${0##*/} $*"
printf '%s\n' "$call" >>"$STUB/calls"
{ export && echo "core dumps: $(ulimit -c)"; } >>"$STUB/environment"
if [[ ${0##*/} == curl ]]; then
  # The header with the token arrives through standard input.
  header=$(cat)
  [[ $header == 'Authorization: Bearer '*token ]]
  call+=" as ${header##* }"
fi

matches() { # matches PATTERN: is it a part of the call?
  [[ -n $1 && $call == *"$1"* ]]
}
if [[ -e $STUB/before ]] && matches "$(<"$STUB/before")"; then
  rm "$STUB/before"
  kill -INT 0
fi
if [[ -e $STUB/after ]] && matches "$(<"$STUB/after")"; then
  rm "$STUB/after"
  trap 'kill -INT 0' EXIT
fi
if [[ -e $STUB/fail ]]; then
  while IFS= read -r pattern; do
    if matches "$pattern"; then
      echo 'ERROR: stub' >&2
      exit 1
    fi
  done <"$STUB/fail"
fi
if [[ -e $STUB/answers ]]; then
  while IFS= read -r line; do
    answer=${line#*=>}
    matches "${line%%=>*}" || continue
    if [[ $answer == '!'* ]]; then
      echo "ERROR: ${answer#* }" >&2
      code=${answer%% *}
      exit "${code#!}"
    fi
    [[ -z $answer ]] || printf '%s\n' "$answer"
    exit
  done <"$STUB/answers"
fi

case $call in
  'sleep '*) ;;
  'curl '*)
    # Google repeats the permissions that the caller has.
    grep -o '{"permissions.*}' <<<"$call"
    ;;
  'gcloud config get-value account') echo operator@example.com ;;
  'gcloud config get-value auth/impersonate_service_account') echo '(unset)' >&2 ;;
  'gcloud config get-value project') echo my-project ;;
  'gcloud auth print-access-token') echo token ;;
  'gcloud auth application-default print-access-token') echo terraform-token ;;
  'gcloud projects describe '*) echo "$3 ACTIVE" ;;
  'gcloud billing projects describe '*) echo True ;;
  'gcloud resource-manager org-policies describe '*) ;;
  'terraform version') printf 'Terraform v1.5.7\non linux_amd64\n' ;;
  'terraform -chdir=terraform init '*) ;;
  'terraform -chdir=terraform apply'*) echo 'Apply complete! Resources: 52 added, 0 changed, 0 destroyed.' ;;
  'terraform -chdir=terraform output -raw management_key')
    if ! grep -Eq '^ *management_key *= *\{' terraform/terraform.tfvars; then
      echo 'Error: Output "management_key" not found' >&2
      exit 1
    fi
    echo projects/my-project/secrets/momento-management-key
    ;;
  *' output -raw requests_topic') echo projects/my-project/topics/momento-key-rotator-requests ;;
  'terraform -chdir=terraform output -raw function_name') echo momento-key-rotator ;;
  'terraform -chdir=terraform output -json secret_names')
    printf '{"momento-api-key":"projects/my-project/secrets/momento-api-key"'
    ! grep -q momento-management-key terraform/terraform.tfvars ||
      printf ',"momento-management-key":"projects/my-project/secrets/momento-management-key"'
    echo '}'
    ;;
  'gcloud secrets versions access 1 '*)
    if [[ ! -s $STUB/versions ]]; then
      echo 'ERROR: (gcloud.secrets.versions.access) NOT_FOUND: Secret Version [versions/1] not found.' >&2
      exit 1
    fi
    cat "$STUB/versions"
    ;;
  'gcloud secrets describe '*) echo 2026-11-24T03:17:00.123456Z ;;
  'gcloud secrets versions add '*)
    cat >>"$STUB/versions"
    # A user's configuration can turn on the log of requests. The variable overrides it.
    [[ ${CLOUDSDK_CORE_LOG_HTTP-} == false ]] || cat "$STUB/versions" >&2
    echo "Created version [1] of the secret [$4]." >&2
    ;;
  'gcloud pubsub topics publish '*)
    secret=$(grep -o 'projects/[^"]*/secrets/[^"]*' <<<"$call")
    id=4711 end='newest version 1; the secret was empty'
    [[ $secret != *-management-key ]] || id=4712 end='newest version 2; forced'
    printf '%s %s rotated||rotated %s; %s\n' "$secret" "$id" "$secret" "$end" >>"$STUB/log"
    echo "$id"
    ;;
  'gcloud logging read '*)
    [[ -e $STUB/log ]] || exit 0
    while read -r secret id line; do
      if matches "jsonPayload.secret=\"$secret\"" || matches "jsonPayload.messageId=\"$id\""; then
        printf '%s\n' "$line"
        exit
      fi
    done <"$STUB/log"
    ;;
  *)
    echo "The stub has no answer to: $call" >&2
    exit 99
    ;;
esac
