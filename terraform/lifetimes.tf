# The lifetimes of keys and the schedules determine which settings are refused, and when alerts open.
locals {
  grace_period  = coalesce(var.rotation.grace_period, var.rotation.revoke ? "7d" : "1h")
  destroy_after = var.rotation.destroy_after == "never" ? null : var.rotation.destroy_after
  every_run     = var.rotation.renew_before == "always"

  durations = compact(concat(
    [local.renewal_minimum, local.grace_period, local.destroy_after], values(var.secrets)[*].lifetime
  ))
  seconds = {
    for duration in toset(local.durations) :
    duration => duration == "0" ? 0 : tonumber(regex("^[0-9]+", duration)) * local.unit_seconds[substr(duration, -1, 1)]
  }

  # The parts of renew_before: the share of a key's lifetime, and the duration.
  renewal_share   = try(tonumber(regex("([0-9]+)%", var.rotation.renew_before)[0]) / 100, 0)
  renewal_minimum = try(regex("[0-9]+[smhd]$", var.rotation.renew_before), null)

  # If a stored key has no issue date, the rotator counts its lifetime from the day of storage. The counted lifetime is
  # shorter than the real one, so a share of it can be less than the time between two runs, and the key would expire. So
  # if renew_before is only a share, keys of unknown lifetime get a minimum. It is twice the longest time between two
  # runs, at most two weeks, and at most the share of any known lifetime.
  derived_minimum_hours = floor(min(concat(
    [2 * 7 * 24],
    [2 * max(0, [for key, secret in var.secrets : local.longest_gaps[key] if secret.lifetime == null]...)],
    [
      for secret in values(var.secrets) : local.renewal_share * local.seconds[secret.lifetime] / 3600
      if secret.lifetime != null
    ],
  )...))
  renew_before = (
    local.every_run ? null :
    local.renewal_share == 0 || local.renewal_minimum != null || local.derived_minimum_hours < 1
    ? var.rotation.renew_before
    : "${var.rotation.renew_before},${local.derived_minimum_hours}h"
  )

  # Simple schedules, and the hours between two runs. The checks ignore other schedules.
  simple_schedules = {
    "^[0-9]+ +\\* +\\* +\\* +\\*$"                = 1
    "^[0-9]+ +[0-9]+ +\\* +\\* +\\*$"             = 24
    "^[0-9]+ +[0-9]+ +\\* +\\* +[0-9A-Za-z]+$"    = 7 * 24
    "^[0-9]+ +[0-9]+ +[0-9]+ +\\* +\\*$"          = 31 * 24
    "^[0-9]+ +[0-9]+ +[0-9]+ +[0-9A-Za-z]+ +\\*$" = 366 * 24
  }
  crons = { for key, secret in var.secrets : key => coalesce(secret.schedule, var.schedule.cron) }
  run_gaps = {
    for key, cron in local.crons : key => 3600 * try(
      tonumber(regex("^[0-9]+ +\\*/([0-9]+) +\\* +\\* +\\*$", cron)[0]),
      [for pattern, hours in local.simple_schedules : hours if can(regex(pattern, cron))][0],
      0,
    )
  }

  # The longest time between two runs, in hours. For a schedule that isn't simple, this assumes an hour if the
  # schedule's hour field begins with *, otherwise a day.
  longest_gaps = {
    for key, cron in local.crons : key => (
      local.run_gaps[key] > 0 ? local.run_gaps[key] / 3600 : can(regex("^[^ ]+ +\\*( |/)", cron)) ? 1 : 24
    )
  }

  # Seconds that remain of a key's life when its renewal is due. If every run rotates, the renewal is due at the next
  # run.
  left_when_due = {
    for key, secret in var.secrets : key => (
      local.every_run
      ? local.seconds[secret.lifetime] - local.run_gaps[key]
      : max(
        local.renewal_share * local.seconds[secret.lifetime],
        local.renewal_minimum == null ? 0 : local.seconds[local.renewal_minimum],
      )
    ) if secret.lifetime != null
  }

  # Both alerts open before a key expires, and never for a key that isn't due. So short-lived keys have fewer days. For
  # expiry these are half of the time that remains when the key is due, for no_rotation the whole days of that time.
  expiry_days = {
    for key in keys(var.secrets) : key => min(
      var.monitoring.expiry_days,
      try(floor(local.left_when_due[key] / 2 / 8640) / 10, var.monitoring.expiry_days),
    )
  }
  no_rotation_days = {
    for key, secret in var.secrets : key => coalesce(secret.no_rotation_days, min(
      var.monitoring.no_rotation_days,
      try(max(1, floor(local.left_when_due[key] / 86400)), var.monitoring.no_rotation_days),
    ))
  }
}
