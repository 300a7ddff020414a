# What follows from the lifetimes of keys and from the schedules: impossible settings are refused, and alerts come in time.
locals {
  grace_period = coalesce(var.grace_period, var.revoke ? "7d" : "1h")

  seconds = {
    for duration in toset(compact(concat([local.renewal_minimum, local.grace_period], values(var.secrets)[*].lifetime))) :
    duration => duration == "0" ? 0 : tonumber(regex("^[0-9]+", duration)) * local.unit_seconds[substr(duration, -1, 1)]
  }

  # The parts of renew_before: the share of a key's lifetime, and the duration.
  renewal_share   = try(tonumber(regex("([0-9]+)%", var.renew_before)[0]) / 100, 0)
  renewal_minimum = try(regex("[0-9]+[smhd]$", var.renew_before), null)

  # An old key that was stored again looks new, and half of its remaining life can be less than the time between two runs.
  # So a share alone gets a minimum: two such times, for the secrets whose lifetime isn't known here. It is at most two
  # weeks, and never more than the share of a lifetime that is known.
  derived_minimum_hours = floor(min(concat(
    [2 * 7 * 24],
    [2 * max(0, [for id, secret in var.secrets : local.longest_gaps[id] if secret.lifetime == null]...)],
    [for secret in values(var.secrets) : local.renewal_share * local.seconds[secret.lifetime] / 3600 if secret.lifetime != null],
  )...))
  renew_before = (
    local.renewal_share == 0 || local.renewal_minimum != null || local.derived_minimum_hours < 1
    ? var.renew_before
    : "${var.renew_before},${local.derived_minimum_hours}h"
  )

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

  # The same, at most. Of a schedule that doesn't tell, a daily or hourly one is assumed.
  longest_gaps = {
    for id, secret in var.secrets : id => (
      local.run_gaps[id] > 0 ? local.run_gaps[id] / 3600 :
      can(regex("^[^ ]+ +\\*( |/)", coalesce(secret.schedule, var.schedule))) ? 1 : 24
    )
  }

  # What is left of a key's life when its renewal is due, in seconds. If every run rotates, that is at the next run.
  left_when_due = {
    for id, secret in var.secrets : id => (
      var.renew_before == null
      ? local.seconds[secret.lifetime] - local.run_gaps[id]
      : max(
        local.renewal_share * local.seconds[secret.lifetime],
        local.renewal_minimum == null ? 0 : local.seconds[local.renewal_minimum],
      )
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
