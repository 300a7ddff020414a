#!/usr/bin/env bash
# Deploys the rotator with Terraform, stores the first credential and rotates once. A second run continues where the
# first one stopped. Runs in Cloud Shell and on laptops, also with the bash 3.2 of macOS.
#
# usage: ./deploy.sh [--project=PROJECT] [--region=REGION] [--role=ROLE_ID | --refresh] [--yes] [--check]
#   --project=PROJECT  id of the Google Cloud project. Default: the project of gcloud
#   --region=REGION    default: us-central1
#   --role=ROLE_ID     mint v2 keys with this role of Momento. You store a management key
#   --refresh          refresh keys with their refresh tokens. You store the first key
#   --yes              apply without confirmation
#   --check            only check tools, login, project, billing, permissions and organisation policies
# The first run saves the choices in terraform/terraform.tfvars. Later runs need no options.
# Exit codes: 0 done, 2 wrong usage, 10 to 29 a failed step, 130 interrupted.
set -euo pipefail
# A caller's settings can reveal the credential: tracing, exported variables, core dumps, gcloud's log of requests.
set +ax && ulimit -c 0
# gcloud must not ask whether to enable an API, because Terraform enables the APIs.
export CLOUDSDK_CORE_LOG_HTTP=false CLOUDSDK_CORE_DISABLE_PROMPTS=1
CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")"
settings=terraform/terraform.tfvars
again='Correct the cause above. Then run ./deploy.sh again.'
usage() { sed -n '/^# usage/,/^# Exit/s/^# \{0,1\}//p' deploy.sh; }
fail() { # fail CODE PROBLEM ACTION
  printf '\ndeploy.sh: %s\n%s\n' "$2" "$3" >&2
  exit "$1"
}
tf() { terraform -chdir=terraform "$@"; }
project='' region='' role='' refresh='' yes='' check='' terminal=''
trap '[[ -z $terminal ]] || stty "$terminal"' EXIT # also runs after SIGTERM and SIGHUP
trap 'printf "\nInterrupted. Run ./deploy.sh again to continue.\n" >&2; exit 130' INT
for option in "$@"; do
  [[ $option =~ ^[A-Za-z0-9=_.-]*$ ]] || fail 2 'An option has an invalid character.' 'Run: ./deploy.sh --help'
  case $option in
    --project=?*) project=${option#*=} ;;
    --region=?*) region=${option#*=} ;;
    --role=ROLE_ID) fail 2 "ROLE_ID isn't the id of a role." 'Replace it by an id such as r-abcdefg.' ;;
    --role=?*) role=${option#*=} ;;
    --refresh) refresh=1 ;;
    --yes) yes=1 ;;
    --check) check=1 ;;
    -h | --help) usage && exit ;;
    *) fail 2 "The option $option is unknown or has no value." 'Write --role=r-abcdefg. Run: ./deploy.sh --help' ;;
  esac
done
[[ -z $role || -z $refresh ]] || fail 2 '--role and --refresh exclude each other.' 'Choose one: docs/management-key.md'
[[ -t 0 || -n $yes$check ]] || fail 2 "Standard input isn't a terminal." 'Add --yes to apply without confirmation.'

# ---- 1. check ----
for tool in gcloud terraform curl; do
  command -v "$tool" >/dev/null || fail 10 "$tool isn't installed." 'Install it, or follow docs/cloud-shell.md'
done
version=$(terraform version | sed -n 's/^Terraform v//p') || version=''
oldest=$(printf '%s\n' "$version" 1.5.7 | sort -t. -k1,1n -k2,2n -k3,3n | head -1)
[[ $oldest == 1.5.7 ]] || fail 11 "Terraform ${version:-(unknown version)} is older than 1.5.7." \
  'Update: https://developer.hashicorp.com/terraform/install'
echo "ok: gcloud, curl and Terraform $version"
account=$(gcloud config get-value auth/impersonate_service_account 2>/dev/null) || account=''
[[ -n $account ]] || account=$(gcloud config get-value account 2>/dev/null) || account=''
for login in 'gcloud auth' 'gcloud auth application-default'; do # Terraform uses the second
  $login print-access-token >/dev/null || fail 12 "'$login' has no login, or it has expired." "Run: $login login"
done
[[ -n $project || ! -e $settings ]] || project=$(sed -n 's/^ *project_id *= *"\([^"]*\)".*/\1/p' "$settings")
[[ -n $project ]] || project=$(gcloud config get-value project 2>/dev/null) || project=''
[[ -n $project ]] || fail 14 'No project is selected.' 'Run: gcloud config set project PROJECT'
state=$(gcloud projects describe "$project" --format='value[separator=" "](projectId, lifecycleState)') || state=''
[[ $state == "$project ACTIVE" && $project != *:* ]] ||
  fail 15 "$project isn't the PROJECT_ID of an active project, or has a colon." 'Run: gcloud projects list'
billing=$(gcloud billing projects describe "$project" --format='value(billingEnabled)' 2>/dev/null) || billing=unknown
[[ $billing == True || $billing == unknown ]] || fail 16 "Billing is disabled for $project, so Google refuses builds." \
  "Run: gcloud billing projects link $project --billing-account=ID (gcloud billing accounts list shows the ids)"
echo "ok: project $project, account $account, billing enabled: $billing"
# One permission of each role that a deployment needs. Google also counts grants to groups, folders and organisations.
needed='cloudfunctions.functions.create=cloudfunctions.admin cloudscheduler.jobs.create=cloudscheduler.admin
  iam.serviceAccounts.create=iam.serviceAccountAdmin iam.serviceAccounts.actAs=iam.serviceAccountUser
  logging.logMetrics.create=logging.configWriter logging.logEntries.list=logging.viewer
  monitoring.alertPolicies.create=monitoring.editor pubsub.topics.setIamPolicy=pubsub.admin
  resourcemanager.projects.setIamPolicy=resourcemanager.projectIamAdmin run.services.setIamPolicy=run.admin
  secretmanager.secrets.setIamPolicy=secretmanager.admin serviceusage.services.enable=serviceusage.serviceUsageAdmin
  storage.buckets.create=storage.admin'
permissions='' commands='' member=user:$account
case $account in *.gserviceaccount.com) member=serviceAccount:$account ;; principal:*) member=$account ;; esac
for pair in $needed; do permissions+=",\"${pair%=*}\""; done
# The token goes through standard input, because other processes can read arguments.
granted=$(gcloud auth application-default print-access-token | sed 's/^/Authorization: Bearer /' |
  curl --silent --fail --max-time 30 --header @- --header 'Content-Type: application/json' \
    --data "{\"permissions\":[${permissions#,}]}" \
    "https://cloudresourcemanager.googleapis.com/v1/projects/$project:testIamPermissions") || granted=unknown
for pair in $needed; do
  [[ $granted == unknown || $granted == *"\"${pair%=*}\""* ]] || commands+="
gcloud projects add-iam-policy-binding $project --member=$member --role=roles/${pair#*=} --condition=None"
done
[[ -z $commands ]] || fail 17 "The account of 'gcloud auth application-default login' lacks roles in $project." \
  "Log in as $account, or ask an administrator to run:$commands"
[[ $granted == unknown ]] && echo "note: Google didn't show the permissions" || echo 'ok: permissions'
if [[ ! -e $settings && -z $check ]]; then
  [[ -n $role$refresh ]] || fail 19 '--role=ROLE_ID or --refresh is missing.' \
    'Choose one: docs/management-key.md. If you deployed before, use the clone in which you did.'
  text="project_id = \"$project\"
region = \"${region:-us-central1}\""
  [[ -z $role ]] || text+="
management_key = {}
rotation = { revoke = true }
secrets = {
  momento-api-key        = { role = \"$role\", lifetime = \"30d\" }
  momento-management-key = { lifetime = \"90d\" }
}"
  echo "$text" >"$settings"
fi
# The options of a later run must repeat the saved choices, because other choices would replace resources.
for value in "$project" "$region" "$role"; do
  [[ -z $value || ! -e $settings ]] || grep -qF "\"$value\"" "$settings" ||
    fail 19 "The options differ from $settings: it has no \"$value\"." 'Change the file, or use another clone.'
done
[[ -z $refresh ]] || ! grep -Eqs '^ *management_key *= *\{' "$settings" ||
  fail 19 "$settings has a management_key." 'Omit --refresh, or change that file.'
# Organisation policies, and the variable that satisfies each. The defaults might satisfy a policy with a list.
for pair in iam.disableServiceAccountCreation=service_accounts cloudfunctions.requireVPCConnector=network \
  run.allowedVPCEgress=network gcp.resourceLocations=region gcp.restrictNonCmekServices=secrets \
  cloudbuild.allowedWorkerPools=function; do
  value=$(gcloud resource-manager org-policies describe "${pair%=*}" --project="$project" --effective \
    --format="value[separator=''](booleanPolicy.enforced, listPolicy)" 2>/dev/null) || value=unknown
  case $value in '' | False | allValues=ALLOW) continue ;; esac
  ! grep -Eqs "^ *${pair#*=} *=" "$settings" || continue
  [[ $value != True ]] || fail 18 "The organisation policy ${pair%=*} is enforced in $project." \
    "Set ${pair#*=} in $settings, which a run without --check creates: terraform/README.md#requirements"
  echo "note: the organisation policy ${pair%=*} might limit ${pair#*=}: $value"
done
[[ -z $check ]] || { echo 'No check failed. Nothing was changed.' && exit; }

# ---- 2. apply ----
tf init -input=false || fail 20 'terraform init failed.' "$again"
if [[ -n $yes ]]; then tf apply -auto-approve </dev/null; else tf apply; fi ||
  fail 21 'terraform apply failed or was cancelled.' "If the error names SERVICE_DISABLED, repository metadata or the
build service account, wait ten minutes. If it has the code 409: docs/operate/upgrade-and-remove.md#error-409
Otherwise correct the cause. Then run ./deploy.sh again."
{ topic=$(tf output -raw requests_topic) && service=$(tf output -raw function_name) &&
  secrets=$(tf output -json secret_names | grep -o '"projects/[^"]*"' | tr -d '"' | sort -u); } ||
  fail 22 "Terraform's outputs can't be read." "$again"

# ---- 3. store the first credential ----
place() { # place SECRET: sets the options that name its project and its location
  flags=("--project=$(cut -d/ -f2 <<<"$1")")
  [[ $1 != */locations/* ]] || flags+=("--location=$(cut -d/ -f4 <<<"$1")")
}
# A v2 key is a JSON Web Token, alone or in JSON. Without a management key, Terraform has no output management_key.
jwt='eyJ[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]+){2}' blanks='[[:space:]]*'
if credentials=$(tf output -raw management_key 2>/dev/null); then
  what='a v2 management key' pattern="$jwt|\{.*\"$jwt\".*\}"
else
  credentials=$secrets what='JSON with a key and its refresh token' pattern='\{.*"refresh_?[tT]oken".*\}'
fi
for secret in $credentials; do
  place "$secret"
  # Lists lag by minutes, but access to version 1 doesn't. FAILED_PRECONDITION: that version is disabled.
  error=$(gcloud secrets versions access 1 --secret="${secret##*/}" "${flags[@]}" 2>&1 >/dev/null) && error=none
  [[ $error != none && $error != *FAILED_PRECONDITION* ]] || { echo "ok: $secret has a version" && continue; }
  [[ $error == *NOT_FOUND* ]] ||
    fail 23 "It isn't known whether $secret has a version, so nothing was stored. $error" "$again"
  # In canonical mode, a terminal cuts lines at 4096 or 1024 characters. With -icanon, Ctrl-D arrives as a character.
  [[ ! -t 0 ]] || { terminal=$(stty -g) && stty -echo -icanon -iexten min 1 susp undef; }
  unset credential && printf 'Paste %s for %s, then press Ctrl-D. The text stays invisible.\n' "$what" "$secret"
  IFS= read -rs -d $'\004' credential || true
  [[ -z $terminal ]] || stty "$terminal"
  [[ $credential =~ ^$blanks($pattern)$blanks$ ]] || fail 24 "The input isn't $what. Nothing was stored." \
    'Run ./deploy.sh again, and paste the text as Momento shows it: docs/management-key.md#create-it'
  printf '%s' "$credential" | gcloud secrets versions add "${secret##*/}" "${flags[@]}" --data-file=- ||
    fail 25 "Storing the credential in $secret failed." "$again"
done

# ---- 4. rotate ----
for secret in $secrets; do
  place "$secret"
  created=$(gcloud secrets describe "${secret##*/}" "${flags[@]}" --format='value(createTime)') ||
    fail 26 "$secret can't be read." "$again"
  # Cloud Logging keeps lines for 30 days. So a key that isn't due was rotated, too, if its version isn't the first.
  # Lines about an earlier secret of the same name don't count.
  rotated='jsonPayload.outcome="rotated" OR (jsonPayload.outcome="not_due" AND jsonPayload.version!="1")'
  filter="jsonPayload.secret=\"$secret\" AND ($rotated) AND timestamp>=\"$created\"" id=''
  for ((polls = 75; ; polls--)); do
    line=$(gcloud logging read --project="$project" --freshness=30d --limit=1 \
      --format='value[separator="|"](jsonPayload.outcome, jsonPayload.error.retryable, jsonPayload.message)' \
      "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"$service\" AND $filter") ||
      fail 26 "The log of $project can't be read." "$again"
    IFS='|' read -r outcome retryable message <<<"$line"
    case $outcome in rotated | not_due | already_rotated | superseded) echo "$message" && break ;; esac
    [[ -z $line || $retryable == True ]] || fail 28 "$message" "$again"
    ((polls > 0)) || fail 29 "The rotation of $secret didn't succeed in 15 minutes. $message" \
      'Follow docs/operate/runbook.md#no-run-happens. Then run ./deploy.sh again.'
    if [[ -z $id ]]; then
      id=$(gcloud pubsub topics publish "$topic" --message="{\"secrets\":[\"$secret\"],\"force\":true}" \
        --format='value(messageIds[0])') || fail 27 "The request wasn't published to $topic." "$again"
      echo "Waiting for the rotation of $secret, at most 15 minutes."
      filter="jsonPayload.messageId=\"$id\""
    fi
    sleep 10
  done
done
grep -Eq '^[^#]*("projects/[^"]*/notificationChannels/|monitoring *= *\{ *enabled *= *false)' "$settings" ||
  echo "Alerts don't notify anybody yet: docs/operate/runbook.md#choose-who-is-notified"
echo 'Done. Keep the state in terraform/terraform.tfstate, unless you moved it to a bucket: docs/cloud-shell.md'
