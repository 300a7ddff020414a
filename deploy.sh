#!/usr/bin/env bash
# Deploys the rotator with Terraform, stores the first credential and rotates once. A second run continues where the
# first one stopped. Runs in Cloud Shell and on laptops, also with the bash 3.2 of macOS.
set -euo pipefail
# A caller's environment can turn on tracing, which prints values, and the export of all variables to child processes.
set +ax
# gcloud must not ask whether to enable an API, because Terraform enables the APIs.
export CLOUDSDK_CORE_DISABLE_PROMPTS=1
cd "$(dirname "${BASH_SOURCE[0]}")"
settings=terraform/terraform.tfvars
again='Correct the cause above. Then run ./deploy.sh again.'
usage() {
  cat <<'TEXT'
usage: ./deploy.sh [--project=PROJECT] [--region=REGION] [--role=ROLE_ID | --refresh] [--yes] [--check]

  --project=PROJECT  id of the Google Cloud project. Default: the project of gcloud
  --region=REGION    default: us-central1
  --role=ROLE_ID     mint v2 keys with this role of Momento. You store a management key
  --refresh          refresh keys with their refresh tokens. You store the first key
  --yes              apply without confirmation
  --check            only check tools, login, project, billing, permissions and organisation policies

The first run saves the choices in terraform/terraform.tfvars. Later runs need no options.
Exit codes: 0 done, 2 wrong usage, 10 to 29 a failed step, 130 interrupted.
TEXT
}
fail() { # fail CODE PROBLEM ACTION
  printf '\ndeploy.sh: %s\n%s\n' "$2" "$3" >&2
  exit "$1"
}
tf() { terraform -chdir=terraform "$@"; }

terminal=''
trap '[[ -z $terminal ]] || stty "$terminal"' EXIT
trap 'printf "\nInterrupted. Run ./deploy.sh again to continue.\n" >&2; exit 130' INT
trap 'exit 143' TERM HUP
project='' region='' role='' refresh='' yes='' check=''
for option in "$@"; do
  [[ $option =~ ^[A-Za-z0-9=_.-]*$ ]] || fail 2 'An option has an invalid character.' 'Run: ./deploy.sh --help'
  case $option in
    --project=?*) project=${option#*=} ;;
    --region=?*) region=${option#*=} ;;
    --role=?*) role=${option#*=} ;;
    --refresh) refresh=1 ;;
    --yes) yes=1 ;;
    --check) check=1 ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && exit 2 ;;
  esac
done
[[ -z $role || -z $refresh ]] || fail 2 '--role and --refresh exclude each other.' 'Choose one: docs/management-key.md'
[[ -t 0 || -n $yes$check ]] || fail 2 "Standard input isn't a terminal." 'Add --yes to apply without confirmation.'

# ---- 1. check ----
for tool in gcloud terraform curl; do
  command -v "$tool" >/dev/null || fail 10 "$tool isn't installed." 'Install it, or follow docs/cloud-shell.md'
done
version=$(terraform version | sed -n 's/^Terraform v//p')
oldest=$(printf '%s\n' "$version" 1.5.7 | sort -t. -k1,1n -k2,2n -k3,3n | head -1)
[[ $oldest == 1.5.7 ]] || fail 11 "Terraform ${version:-(unknown version)} is older than 1.5.7." \
  'Update: https://developer.hashicorp.com/terraform/install'
echo "ok: gcloud, curl and Terraform $version"

account=$(gcloud config get-value account 2>/dev/null) || account=''
{ [[ -n $account ]] && gcloud auth print-access-token >/dev/null; } ||
  fail 12 "gcloud isn't logged in, or its login has expired." 'Run: gcloud auth login'
gcloud auth application-default print-access-token >/dev/null ||
  fail 13 'Terraform has no credentials for Google Cloud.' 'Run: gcloud auth application-default login'
echo "ok: logged in as $account"

[[ -n $project || ! -e $settings ]] || project=$(sed -n 's/^project_id *= *"\(.*\)".*/\1/p' "$settings")
[[ -n $project ]] || project=$(gcloud config get-value project 2>/dev/null) || project=''
[[ -n $project ]] || fail 14 'No project is selected.' 'Run: gcloud config set project PROJECT'
state=$(gcloud projects describe "$project" --format='value[separator=" "](projectId, lifecycleState)') ||
  fail 15 "Project $project doesn't exist, or $account can't read it." 'Run: gcloud projects list'
[[ $state == "$project ACTIVE" ]] || fail 15 "$project isn't the id of an active project." 'Run: gcloud projects list'
echo "ok: project $project"

billing=$(gcloud billing projects describe "$project" --format='value(billingEnabled)' 2>/dev/null) || billing=unknown
[[ $billing == True || $billing == unknown ]] || fail 16 "Billing is disabled for $project, so Google refuses builds." \
  "Run: gcloud billing projects link $project --billing-account=ID (gcloud billing accounts list shows the ids)"
echo "ok: billing enabled: $billing"

# One permission of each role that a deployment needs. Google also counts grants to groups, folders and organisations.
needed='cloudfunctions.functions.create=cloudfunctions.admin cloudscheduler.jobs.create=cloudscheduler.admin
  iam.serviceAccounts.create=iam.serviceAccountAdmin iam.serviceAccounts.actAs=iam.serviceAccountUser
  logging.logMetrics.create=logging.configWriter logging.logEntries.list=logging.viewer
  monitoring.alertPolicies.create=monitoring.editor pubsub.topics.setIamPolicy=pubsub.admin
  resourcemanager.projects.setIamPolicy=resourcemanager.projectIamAdmin run.services.setIamPolicy=run.admin
  secretmanager.secrets.setIamPolicy=secretmanager.admin serviceusage.services.enable=serviceusage.serviceUsageAdmin
  storage.buckets.create=storage.admin'
permissions='' commands='' member=user
[[ $account != *.gserviceaccount.com ]] || member=serviceAccount
for pair in $needed; do permissions+=",\"${pair%=*}\""; done
# The token goes through standard input, because other processes can read arguments.
granted=$(gcloud auth print-access-token | sed 's/^/Authorization: Bearer /' |
  curl --silent --fail --max-time 30 --header @- --header 'Content-Type: application/json' \
    --data "{\"permissions\":[${permissions#,}]}" \
    "https://cloudresourcemanager.googleapis.com/v1/projects/$project:testIamPermissions") || granted=unknown
for pair in $needed; do
  [[ $granted == unknown || $granted == *"\"${pair%=*}\""* ]] || commands+="
gcloud projects add-iam-policy-binding $project --member=$member:$account --role=roles/${pair#*=} --condition=None"
done
[[ -z $commands ]] || fail 17 "$account lacks roles in $project." "Ask an administrator of the project to run:$commands"
[[ $granted == unknown ]] && echo "note: the permissions of $account are unknown" || echo 'ok: permissions'

# Organisation policies, and the variable that satisfies each. The defaults can satisfy a policy with a list of values.
fields='booleanPolicy.enforced, listPolicy.allowedValues, listPolicy.deniedValues, listPolicy.allValues'
for pair in iam.disableServiceAccountCreation=service_accounts cloudfunctions.requireVPCConnector=network \
  run.allowedVPCEgress=network gcp.resourceLocations=region gcp.restrictNonCmekServices=secrets \
  cloudbuild.allowedWorkerPools=function; do
  value=$(gcloud resource-manager org-policies describe "${pair%=*}" --project="$project" --effective \
    --format="value[separator='']($fields)" 2>/dev/null) || value=unknown
  case $value in '' | False | ALLOW) continue ;; esac
  ! grep -Eqs "^${pair#*=} *=" "$settings" || continue
  [[ $value != True ]] || fail 18 "The organisation policy ${pair%=*} is enforced in $project." \
    "Set ${pair#*=} in $settings: terraform/README.md#requirements"
  echo "note: the organisation policy ${pair%=*} might limit ${pair#*=}: $value"
done
[[ -z $check ]] || { echo 'All checks passed. Nothing was changed.' && exit; }

# ---- 2. apply ----
if [[ ! -e $settings ]]; then
  [[ -n $role$refresh ]] ||
    fail 19 "The way to renew keys isn't chosen." 'Add --role=ROLE_ID, or --refresh: docs/management-key.md'
  text="project_id = \"$project\""
  [[ -z $region ]] || text+=$'\n'"region = \"$region\""
  [[ -z $role ]] || text+="
management_key = {}
rotation = { revoke = true }
# The management key renews itself, and the alerts watch its expiry.
secrets = {
  momento-api-key        = { role = \"$role\", lifetime = \"30d\" }
  momento-management-key = { lifetime = \"90d\" }
}"
  echo "$text" >"$settings.new" && mv "$settings.new" "$settings"
fi
# The options must match the choices of the first run, because other choices would replace resources.
for value in "$project" "$region" "$role"; do
  [[ -z $value ]] || grep -qF "\"$value\"" "$settings" ||
    fail 19 "$settings doesn't contain \"$value\"." 'Change that file, or use another clone for another deployment.'
done
minted=$(grep -c '^management_key' "$settings") || true
[[ -z $refresh || $minted == 0 ]] || fail 19 "$settings has a management_key." 'Omit --refresh, or change that file.'

tf init -input=false || fail 20 'terraform init failed.' "$again"
if [[ -n $yes ]]; then tf apply -auto-approve </dev/null; else tf apply; fi || fail 21 'terraform apply failed.' "$again
If it is SERVICE_DISABLED, repository metadata or a missing permission of the build account, wait ten minutes first."
output() { tf output "$@" || fail 22 "Terraform's output ${*: -1} can't be read." "$again"; }
topic=$(output -raw requests_topic)
service=$(output -raw function_name)
secrets=$(output -json secret_names | grep -o '"projects/[^"]*"' | tr -d '"' | sort -u) || exit 22

# ---- 3. store the first credential ----
credentials=$secrets what='JSON with a key and its refresh token' pattern='"refresh_?[tT]oken"'
[[ $minted == 0 ]] || { credentials=$(output -raw management_key) && what='a v2 management key' pattern='eyJ'; }
for secret in $credentials; do
  flags=("--project=$(cut -d/ -f2 <<<"$secret")")
  [[ $secret != */locations/* ]] || flags+=("--location=$(cut -d/ -f4 <<<"$secret")")
  # Lists lag by minutes, but access by number doesn't lag. The first version has number 1. The payload is discarded.
  if error=$(gcloud secrets versions access 1 --secret="${secret##*/}" "${flags[@]}" 2>&1 >/dev/null) ||
    [[ $error == *FAILED_PRECONDITION* ]]; then
    echo "ok: $secret has a version"
    continue
  fi
  [[ $error == *NOT_FOUND* ]] || fail 23 "It isn't known whether $secret has a version, so nothing was stored." \
    "Run: gcloud secrets versions list ${secret##*/} ${flags[*]}"
  # In canonical mode, a terminal cuts lines at 4096 or 1024 characters. With -icanon, Ctrl-D arrives as a character.
  [[ ! -t 0 ]] || { terminal=$(stty -g) && stty -echo -icanon min 1; }
  printf 'Paste %s for %s, then press Ctrl-D. The text stays invisible.\n' "$what" "$secret"
  unset credential
  IFS= read -rs -d $'\004' credential || true
  [[ -z $terminal ]] || stty "$terminal"
  [[ $credential =~ $pattern ]] || fail 24 "The input isn't $what. Nothing was stored." 'Run ./deploy.sh again.'
  printf '%s' "$credential" | gcloud secrets versions add "${secret##*/}" "${flags[@]}" --data-file=- ||
    fail 25 "The credential wasn't stored in $secret." "$again"
done

# ---- 4. rotate ----
read_log() { # read_log FRESHNESS FILTER
  gcloud logging read "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"$service\" AND $2" \
    --project="$project" --freshness="$1" --limit=1 \
    --format='value[separator="|"](jsonPayload.outcome, jsonPayload.error.retryable, jsonPayload.message)' ||
    fail 26 "The log of $project can't be read." "$again"
}
for secret in $secrets; do
  id='' line=$(read_log 30d "jsonPayload.outcome=\"rotated\" AND jsonPayload.secret=\"$secret\"")
  for ((polls = 90; ; polls--)); do
    case $line in
      rotated\|* | already_rotated\|* | superseded\|*) echo "${line#*|*|}" && break ;;
      '' | *\|True\|*) ((polls > 0)) || fail 29 "$secret wasn't rotated in 15 minutes. ${line#*|*|}" \
        'Follow docs/operate/runbook.md#no-run-happens. Then run ./deploy.sh again.' ;;
      *) fail 28 "${line#*|*|}" 'Then run ./deploy.sh again.' ;;
    esac
    if [[ -z $id ]]; then
      id=$(gcloud pubsub topics publish "$topic" --message="{\"secrets\":[\"$secret\"],\"force\":true}" \
        --format='value(messageIds[0])') || fail 27 "The request wasn't published to $topic." "$again"
      echo "Waiting for the rotation of $secret, at most 15 minutes."
    fi
    sleep 10
    line=$(read_log 1h "jsonPayload.messageId=\"$id\"")
  done
done
notified=' Alerts notify nobody yet: docs/operate/runbook.md#choose-who-is-notified'
! grep -q notification_channels "$settings" || notified=''
printf '\nDone.%s\nKeep the state in terraform/terraform.tfstate, or move it to a bucket: docs/cloud-shell.md\n' "$notified"
