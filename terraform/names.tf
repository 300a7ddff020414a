locals {
  # Google's limits for names. A longer name is cut, and ends with a hash of the whole prefix. So two deployments with
  # similar long prefixes have different names.
  name_rules = {
    # A Cloud Run service has the function's name, and its limit is 49 characters.
    function        = { prefix = "", suffix = "", limit = 49 }
    runtime_account = { prefix = "", suffix = "-runtime", limit = 30 }
    build_account   = { prefix = "", suffix = "-build", limit = 30 }
    invoker_account = { prefix = "", suffix = "-invoker", limit = 30 }
    # Bucket names must be globally unique, so this name contains the project's id.
    bucket = { prefix = "${var.project_id}-", suffix = "-source", limit = 63 }
  }

  name_hash = substr(sha256(var.name), 0, 6)

  full_names = { for kind, rule in local.name_rules : kind => "${rule.prefix}${var.name}${rule.suffix}" }
  cut_lengths = {
    for kind, rule in local.name_rules : kind => rule.limit - length("${rule.prefix}-${local.name_hash}${rule.suffix}")
  }
  names = {
    for kind, rule in local.name_rules : kind => (
      length(local.full_names[kind]) <= rule.limit
      ? local.full_names[kind]
      : join("", [
        rule.prefix,
        trim(substr(var.name, 0, local.cut_lengths[kind]), "-"),
        "-${local.name_hash}${rule.suffix}",
      ])
    )
  }
}
