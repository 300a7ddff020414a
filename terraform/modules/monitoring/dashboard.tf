locals {
  daily_runs = "sum_over_time(${local.promql.runs}{monitored_resource=\"cloud_run_revision\""
  days_left = {
    for part in ["sum", "count"] : part => join("", [
      "sum by (secret) (sum_over_time(${local.promql["days-left"]}_${part}",
      "{monitored_resource=\"cloud_run_revision\"}[1d]))",
    ])
  }
  durations = join("", [
    "sum by (le) (sum_over_time(${local.promql.duration}_bucket", "{monitored_resource=\"cloud_run_revision\"}[1d]))",
  ])
  failed_calls = join("", [
    "sum by (job_id) (sum_over_time(${local.promql["failed-calls"]}",
    "{monitored_resource=\"cloud_scheduler_job\"}[1h]))",
  ])

  # Two charts in a row.
  charts = [
    {
      title   = "Runs by outcome, per day"
      type    = "STACKED_BAR"
      queries = { "" = "sum by (outcome) (${local.daily_runs}}[1d]))" }
    },
    {
      title   = "Rotations by trigger, per day"
      type    = "STACKED_BAR"
      queries = { "" = "sum by (trigger) (${local.daily_runs}, outcome=\"rotated\"}[1d]))" }
    },
    {
      title     = "Days left in the newest key, by secret"
      type      = "LINE"
      queries   = { "" = "${local.days_left.sum} / ${local.days_left.count}" }
      threshold = var.settings.expiry_days
    },
    {
      title = "Duration of a run in ms (median and 95th percentile)"
      type  = "LINE"
      queries = {
        for percent in [50, 95] : "${percent} %" => "histogram_quantile(${percent / 100}, ${local.durations})"
      }
    },
    {
      title   = "Failed calls of Cloud Scheduler, by job"
      type    = "STACKED_BAR"
      queries = { "" = local.failed_calls }
    },
  ]

  # Google removes empty values, which every plan would add again. So the tiles omit empty lists and positions of 0.
  chart_tiles = [
    for index, chart in local.charts : merge(
      {
        width  = 24
        height = 16
        widget = {
          title = chart.title
          xyChart = merge(
            {
              dataSets = [
                for legend, query in chart.queries : merge(
                  { plotType = chart.type, timeSeriesQuery = { prometheusQuery = query } },
                  { for key in ["legendTemplate"] : key => legend if legend != "" },
                )
              ]
              yAxis = { scale = "LINEAR" }
            },
            {
              for key in ["thresholds"] : key => [{ label = "Alert", value = chart.threshold }]
              if can(chart.threshold)
            },
          )
        }
      },
      { for key in ["xPos"] : key => 24 if index % 2 == 1 },
      { for key in ["yPos"] : key => 16 * floor(index / 2) if index >= 2 },
    )
  ]
  log_tile = {
    yPos   = 16 * ceil(length(local.charts) / 2)
    width  = 48
    height = 20
    widget = {
      title     = "Log"
      logsPanel = { filter = local.deployment_filter, resourceNames = ["projects/${var.project_id}"] }
    }
  }
}

resource "google_monitoring_dashboard" "rotations" {
  count = var.settings.dashboard ? 1 : 0

  project = var.project_id
  dashboard_json = jsonencode({
    displayName  = var.name
    mosaicLayout = { columns = 48, tiles = concat(local.chart_tiles, [local.log_tile]) }
  })
}
