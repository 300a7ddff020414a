locals {
  # What Google allows for each kind of name. A name that would be too long is cut, and a hash of the whole `name` takes
  # the place of the rest: two deployments with long, alike names still get different ones.
  name_rules = {
    # Google publishes 63 for a function; its Cloud Run service, which has the same name, must stay below 50.
    function            = { prefix = "", suffix = "", limit = 49 }
    runtime_account     = { prefix = "", suffix = "-runtime", limit = 30 }
    build_account       = { prefix = "", suffix = "-build", limit = 30 }
    scheduler_account   = { prefix = "", suffix = "-scheduler", limit = 30 }
    job                 = { prefix = "", suffix = "", limit = 200 }
    runs_metric         = { prefix = "", suffix = "-runs", limit = 100 }
    days_left_metric    = { prefix = "", suffix = "-days-left", limit = 100 }
    duration_metric     = { prefix = "", suffix = "-duration", limit = 100 }
    expiring_metric     = { prefix = "", suffix = "-expiring", limit = 100 }
    late_metric         = { prefix = "", suffix = "-late", limit = 100 }
    failed_calls_metric = { prefix = "", suffix = "-failed-calls", limit = 100 }
    # The only name that has to be unique in the world; project ids are.
    bucket = { prefix = "${var.project_id}-", suffix = "-source", limit = 63 }
  }

  name_hash = substr(sha256(var.name), 0, 6)

  names = {
    for kind, rule in local.name_rules : kind => (
      length("${rule.prefix}${var.name}${rule.suffix}") <= rule.limit
      ? "${rule.prefix}${var.name}${rule.suffix}"
      : join("", [
        rule.prefix,
        trim(substr(var.name, 0, rule.limit - length("${rule.prefix}-${local.name_hash}${rule.suffix}")), "-"),
        "-${local.name_hash}${rule.suffix}",
      ])
    )
  }
}

# The provider gives a metric a new name by creating another one, and forgets the old one. So a new name replaces them.
resource "terraform_data" "name" {
  input = var.name
}
