locals {
  # CloudFormation takes text alone.
  parameters = {
    CodeBucket                = var.code_bucket
    CodeKey                   = var.code_key
    ApiId                     = var.api_id
    StageName                 = var.stage_name
    ManagementEndpoint        = var.management_endpoint
    TableName                 = var.table_name
    TableKeyArn               = var.table_key_arn
    TableSchema               = var.table_schema == null ? "" : jsonencode(var.table_schema)
    StateTable                = tostring(var.state_table)
    Activity                  = var.activity
    IdleTimeoutSeconds        = tostring(var.idle_timeout_seconds)
    TimeoutsByRole            = join(",", [for role, seconds in var.timeouts_by_role : "${role}=${seconds}"])
    ActivityResolutionSeconds = tostring(var.activity_resolution_seconds)
    LastActiveCounts          = var.last_active_counts
    Mode                      = var.mode
    HandOver                  = var.hand_over
    DisconnectFunctionArn     = var.disconnect_function_arn
    ClosesPerSecond           = tostring(var.closes_per_second)
    Precise                   = tostring(var.precise)
    CloseFunctions            = tostring(var.close_functions)
    Shards                    = tostring(var.shards)
    ReserveConcurrency        = tostring(var.reserve_concurrency)
    Architecture              = var.architecture
    Deployment                = var.deployment
    MetricRoles               = join(",", var.metric_roles)
    AlarmTopicArn             = var.alarm_topic_arn
    Dashboard                 = tostring(var.dashboard)
    LogLevel                  = var.log_level
    LogRetentionDays          = tostring(var.log_retention_days)
  }
}
