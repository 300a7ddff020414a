# What follows from how long keys live, where that is known: what cannot work is refused, and alerts come in time.
locals {
  grace_period = coalesce(var.grace_period, var.revoke ? "7d" : "1h")

  seconds = {
    for duration in toset(compact(concat([var.renew_before, local.grace_period], values(var.secrets)[*].lifetime))) :
    duration => duration == "0" ? 0 : tonumber(regex("^[0-9]+", duration)) * local.unit_seconds[substr(duration, -1, 1)]
    if !endswith(duration, "%")
  }

  # The time between two runs, in hours, for schedules that tell it at a glance. Of any other one nothing is assumed.
  simple_schedules = {
    "^[0-9]+ +\\* +\\* +\\* +\\*$"                = 1
    "^[0-9]+ +[0-9]+ +\\* +\\* +\\*$"             = 24
    "^[0-9]+ +[0-9]+ +\\* +\\* +[0-9A-Za-z]+$"    = 7 * 24
    "^[0-9]+ +[0-9]+ +[0-9]+ +\\* +\\*$"          = 31 * 24
    "^[0-9]+ +[0-9]+ +[0-9]+ +[0-9A-Za-z]+ +\\*$" = 366 * 24
  }
  run_gaps = {
    for id, secret in var.secrets : id => 3600 * try(
      tonumber(regex("^[0-9]+ +\\*/([0-9]+) +\\* +\\* +\\*$", coalesce(secret.schedule, var.schedule))[0]),
      [for pattern, hours in local.simple_schedules : hours if can(regex(pattern, coalesce(secret.schedule, var.schedule)))][0],
      0,
    )
  }

  # What is left of a key's life when its renewal is due, in seconds. Where every run rotates, that is when the next one comes.
  left_when_due = {
    for id, secret in var.secrets : id => (
      var.renew_before == null ? local.seconds[secret.lifetime] - local.run_gaps[id] :
      endswith(var.renew_before, "%") ? local.seconds[secret.lifetime] * tonumber(trimsuffix(var.renew_before, "%")) / 100 :
      local.seconds[var.renew_before]
    ) if secret.lifetime != null
  }

  # The days of both alerts come before the end of a key, and never while it is as good as it should be: for a short-lived
  # one, half of what is left when its renewal is due, and the whole days of that.
  expiry_days = {
    for id in keys(var.secrets) : id => min(
      var.alerts.expiry_days,
      try(floor(local.left_when_due[id] / 2 / 8640) / 10, var.alerts.expiry_days),
    )
  }
  no_rotation_days = {
    for id, secret in var.secrets : id => coalesce(secret.no_rotation_days, min(
      var.alerts.no_rotation_days,
      try(max(1, floor(local.left_when_due[id] / 86400)), var.alerts.no_rotation_days),
    ))
  }
}
