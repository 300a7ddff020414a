# What the validations of several variables share. Nothing here may depend on a variable: its own validation could then
# not use it.
locals {
  unit_seconds = { s = 1, m = 60, h = 3600, d = 86400 }

  # Five fields, each a list of *, a value or a range, each with an optional step. Values are checked against the field's
  # range; names of months and days are understood as well.
  cron_values = [
    "[0-5]?[0-9]",
    "([01]?[0-9]|2[0-3])",
    "(0?[1-9]|[12][0-9]|3[01])",
    "(0?[1-9]|1[0-2]|(?i:JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC))",
    "([0-7]|(?i:SUN|MON|TUE|WED|THU|FRI|SAT))",
  ]
  cron_items   = [for value in local.cron_values : "(\\*|${value}(-${value})?)(/[1-9][0-9]?)?"]
  cron_pattern = "^${join(" +", [for item in local.cron_items : "${item}(,${item})*"])}$"

  kms_key_pattern = "^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$"
  region_pattern  = "^[a-z]+-[a-z]+[0-9]{1,2}$"

  label_key_pattern   = "^[a-z][a-z0-9_-]{0,62}$"
  label_value_pattern = "^[a-z0-9_-]{0,63}$"
}
